//go:build !long

package main

// restarts is how often tokengate is restarted under load.
const restarts = 2

// failovers is how often a server is killed while another one answers.
const failovers = 2
