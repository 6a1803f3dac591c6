package running

// ParseBootstrap reads a configuration file of Envoy.
var ParseBootstrap = parseBootstrap
