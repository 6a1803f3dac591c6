package config

// restartKeys are the keys that need a restart: what Envoy's configuration also
// holds, so that a reload here alone would part the two, and what is opened
// once at the start. publicURL goes with upstream.contextPath.
var restartKeys = []struct {
	key   string
	value func(*Config) any // comparable
}{
	{"publicURL", func(c *Config) any { return c.PublicURL }},
	{"listen.grpc", func(c *Config) any { return c.Listen.GRPC }},
	{"listen.http", func(c *Config) any { return c.Listen.HTTP }},
	{"listen.admin", func(c *Config) any { return c.Listen.Admin }},
	{"listen.metrics", func(c *Config) any { return c.Listen.Metrics }},
	{"store.badger.dir", func(c *Config) any { return c.Store.Badger.Dir }},
	{"upstream.product", func(c *Config) any { return c.Upstream.Product }},
	{"upstream.url", func(c *Config) any { return c.Upstream.URL }},
	{"upstream.contextPath", func(c *Config) any { return c.Upstream.ContextPath }},
	{"upstream.identity.header", func(c *Config) any { return c.Upstream.Identity.Header }},
	{"clientAddress", func(c *Config) any { return c.ClientAddress }},
	{"tokens.queryParameter", func(c *Config) any { return c.Tokens.QueryParameter }},
	{"directory", func(c *Config) any { return c.Directory }},
}

// FixedKeysChanged returns the keys that differ between two configurations and
// need a restart to change, in the order of the file; nil if there are none.
// A reload that would change one is refused by these names.
func FixedKeysChanged(old, new Config) []string {
	var changed []string
	for _, f := range restartKeys {
		if f.value(&old) != f.value(&new) {
			changed = append(changed, f.key)
		}
	}
	return changed
}
