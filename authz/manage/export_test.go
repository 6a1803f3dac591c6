package manage

import "time"

// MaxSpenders is how many callers are remembered by what they have written.
const MaxSpenders = maxSpenders

// Spenders returns how many are.
func (m *Manager) Spenders() int {
	m.spent.mu.Lock()
	defer m.spent.mu.Unlock()
	return len(m.spent.left)
}

// Spend counts a write of a caller under the rules for people.
func (m *Manager) Spend(who string, now time.Time) time.Duration {
	return m.spent.take(who, m.Rules().Writes, now)
}
