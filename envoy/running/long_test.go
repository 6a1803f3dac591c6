//go:build long

package running_test

// everyEnvoy starts a real Envoy for each planted mistake.
const everyEnvoy = true
