//go:build !long

package badger_test

const killRounds = 20
