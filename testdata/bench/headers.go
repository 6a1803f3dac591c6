package main

import (
	"bytes"
	"fmt"

	"golang.org/x/net/http2/hpack"
)

// clients is how many different client addresses a connection speaks of.
const clients = 256

// headerBlocks are the HEADERS frames of a connection: what Envoy 1.40 sends
// with a Check. Envoy, too, puts fields into the connection's table once and
// refers to them afterwards, and spells out the path each time.
type headerBlocks struct {
	first []byte   // of the first request: puts the fields into the table
	later [][]byte // of all others, by client
}

func newHeaderBlocks() (*headerBlocks, error) {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	encode := func(client int, indexed bool) ([]byte, error) {
		block.Reset()
		for _, field := range []hpack.HeaderField{
			{Name: ":method", Value: "POST"},
			{Name: ":path", Value: "/envoy.service.auth.v3.Authorization/Check", Sensitive: true},
			{Name: ":authority", Value: "tokengate"},
			{Name: ":scheme", Value: "http"},
			{Name: "te", Value: "trailers"},
			{Name: "grpc-timeout", Value: "2000m"},
			{Name: "content-type", Value: "application/grpc"},
			// Envoy puts each client's address into the table, too, and older
			// fields out of it. To spell it out costs the server the same, and
			// lets the blocks be made beforehand. Sensitive is spelled out.
			{Name: "x-client-ip", Value: fmt.Sprintf("10.1.%d.%d", client%7, client), Sensitive: !indexed},
			{Name: "x-envoy-internal", Value: "true"},
			{Name: "x-forwarded-for", Value: "192.0.2.2"},
			{Name: "x-envoy-expected-rq-timeout-ms", Value: "250"},
		} {
			if err := encoder.WriteField(field); err != nil {
				return nil, fmt.Errorf("encode headers: %w", err)
			}
		}
		frame := appendFrameHeader(nil, block.Len(), frameHeaders, flagEndHeaders, 0)
		return append(frame, block.Bytes()...), nil
	}
	blocks := &headerBlocks{}
	var err error
	if blocks.first, err = encode(0, true); err != nil {
		return nil, err
	}
	for client := range clients {
		later, err := encode(client, false)
		if err != nil {
			return nil, err
		}
		blocks.later = append(blocks.later, later)
	}
	return blocks, nil
}
