//go:build !long

package badger_test

const (
	killRounds = 20
	cutStep    = 8 // TestEachByte cuts a file at one of so many bytes
)
