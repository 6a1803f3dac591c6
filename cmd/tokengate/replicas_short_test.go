//go:build !long

package main

import "time"

// faultRounds is how often each fault of etcd happens.
const faultRounds = 1

// pauseTime is how long a server is paused. It is longer than the limit on the age of tokens.
const pauseTime = 32 * time.Second
