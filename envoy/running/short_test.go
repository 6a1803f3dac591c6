//go:build !long

package running_test

// everyEnvoy starts a real Envoy for each planted mistake; here one in nine, which take half a second each.
// The others are read from the file. TestGeneratedIsRight shows that a real Envoy reports the same.
const everyEnvoy = false
