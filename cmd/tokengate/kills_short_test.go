//go:build !long

package main

// kills is how often tokengate is killed while it connects a user.
const kills = 6
