package upstream

import "context"

// Tidy deletes what is left in the application, as Run does.
func (c *Credentials) Tidy(ctx context.Context) error {
	left, err := c.survey(ctx)
	c.tidyAll(ctx, left)
	return err
}

// HasRounds reports whether the rounds are this server's.
func (c *Credentials) HasRounds(ctx context.Context) bool { return c.hasRounds(ctx) }

// RoleOf returns the role of changing a user's credentials.
func RoleOf(user string) string { return roleOf(user) }
