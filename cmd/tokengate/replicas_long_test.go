//go:build long

package main

import "time"

// faultRounds is how often each fault of etcd happens, in each of the three runs of make test-long.
const faultRounds = 7

// pauseTime is how long a server is paused. It is longer than the limit on the age of tokens.
const pauseTime = time.Minute
