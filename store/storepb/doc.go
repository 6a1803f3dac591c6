// Package storepb has the generated types of stored audit records, daily totals, password uses and upstream credentials.
// Package store converts them. Run go generate after a change of records.proto.
package storepb

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.75.0 generate
