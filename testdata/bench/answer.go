package main

import (
	"bytes"
	"errors"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// The fields of CheckResponse that checkAnswer looks at.
const (
	responseStatus protowire.Number = 1
	responseOK     protowire.Number = 3
)

// What may be wrong with an answer.
var (
	errUnreadable = errors.New("an answer cannot be read")
	errRefused    = errors.New("a good token was refused")
	errNobody     = errors.New("an answer does not name the token's owner")
)

// checkAnswer says whether an encoded CheckResponse is an allow that names the
// owner: it has an OK status, and an ok_response, which denials have not. owner is empty where the server knows of none. It goes through the
// outermost fields only: the load runs on the cores that it measures.
func checkAnswer(message, owner []byte) error {
	allowed, named := false, len(owner) == 0
	for rest := message; len(rest) > 0; {
		number, wireType, n := protowire.ConsumeTag(rest)
		if n < 0 || wireType != protowire.BytesType {
			return errUnreadable
		}
		value, m := protowire.ConsumeBytes(rest[n:])
		if m < 0 {
			return errUnreadable
		}
		rest = rest[n+m:]
		switch number {
		case responseStatus:
			// An OK status is an empty message: its code is the default.
			if len(value) > 0 {
				return checkStatus(message)
			}
		case responseOK:
			allowed = true
			named = named || bytes.Contains(value, owner)
		}
	}
	switch {
	case !allowed:
		return errRefused
	case !named:
		return errNobody
	}
	return nil
}

// checkStatus looks closely at an answer whose status has something in it.
func checkStatus(message []byte) error {
	var answer authv3.CheckResponse
	if err := proto.Unmarshal(message, &answer); err != nil {
		return errUnreadable
	}
	if answer.GetStatus().GetCode() != int32(codes.OK) {
		return errRefused
	}
	return errUnreadable // no server here sends details with an OK
}
