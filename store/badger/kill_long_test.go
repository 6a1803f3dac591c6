//go:build long

package badger_test

const (
	killRounds = 200
	cutStep    = 1
)
