//go:build long

package main

import "testing"

func TestLongNeighboursOfEnvoy(t *testing.T) {
	t.Run("idle streams", func(t *testing.T) { floodEnvoysSocket(t, 50_000, 0) })
	t.Run("unfinished messages", func(t *testing.T) { floodEnvoysSocket(t, 10_000, 96<<10) })
}
