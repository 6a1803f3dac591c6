//go:build !linux

package seal

// PreventDumps does nothing on this system.
func PreventDumps() error { return nil }
