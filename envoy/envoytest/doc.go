// Package envoytest runs a real Envoy for a test, or for a demonstration.
//
// The configuration runs exactly as given. It must have its administration on
// a unix socket (admin.address.pipe), through which Envoy is asked whether it
// is ready and which port it chose for a listener on port 0.
package envoytest
