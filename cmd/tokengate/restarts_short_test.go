//go:build !long

package main

// restarts is how often tokengate is restarted under load.
const restarts = 2
