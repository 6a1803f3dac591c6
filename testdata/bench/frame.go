package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// HTTP/2 frames (RFC 9113 §4 and §6), as far as a gRPC client needs them.
const (
	frameHeaderLength = 9
	maxFrame          = 16384 // the largest payload that either side may send unasked

	frameData         = 0x0
	frameHeaders      = 0x1
	frameReset        = 0x3
	frameSettings     = 0x4
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindowUpdate = 0x8

	flagEndStream  = 0x1 // of DATA and HEADERS
	flagAck        = 0x1 // of SETTINGS and PING
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20

	settingTableSize  = 0x1
	settingMaxStreams = 0x3
	settingWindow     = 0x4

	// defaultWindow is the flow control window that everything begins with.
	defaultWindow = 65535
	maxWindow     = 1<<31 - 1

	clientPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
)

// frame is a frame that was read. Its payload is good until the next read.
type frame struct {
	kind, flags byte
	stream      uint32
	payload     []byte
}

func (f frame) has(flag byte) bool { return f.flags&flag != 0 }

// readFrame reads a frame; buffer has room for maxFrame bytes.
func readFrame(r *bufio.Reader, buffer []byte) (frame, error) {
	var header [frameHeaderLength]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return frame{}, fmt.Errorf("read a frame: %w", err)
	}
	length := int(header[0])<<16 | int(header[1])<<8 | int(header[2])
	if length > maxFrame {
		return frame{}, fmt.Errorf("read a frame: it has %d bytes, more than were agreed", length)
	}
	f := frame{
		kind:    header[3],
		flags:   header[4],
		stream:  binary.BigEndian.Uint32(header[5:]) & maxWindow,
		payload: buffer[:length],
	}
	if _, err := io.ReadFull(r, f.payload); err != nil {
		return frame{}, fmt.Errorf("read a frame: %w", err)
	}
	return f, nil
}

func appendFrameHeader(b []byte, length int, kind, flags byte, stream uint32) []byte {
	b = append(b, byte(length>>16), byte(length>>8), byte(length), kind, flags)
	return binary.BigEndian.AppendUint32(b, stream)
}

// setStream changes the stream of the frame that begins b.
func setStream(b []byte, stream uint32) { binary.BigEndian.PutUint32(b[5:], stream) }

func appendSetting(b []byte, id uint16, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, id), value)
}

func appendWindowUpdate(b []byte, stream, increment uint32) []byte {
	return binary.BigEndian.AppendUint32(appendFrameHeader(b, 4, frameWindowUpdate, 0, stream), increment)
}
