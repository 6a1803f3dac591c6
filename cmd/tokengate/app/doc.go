// Package app is the tokengate server as a value. New reads the configuration and opens
// the store, Start opens the listeners and starts the background jobs, Reload applies
// a changed configuration, and Stop ends everything in order. Start reading at New in
// server.go.
package app
