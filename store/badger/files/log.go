package files

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strconv"

	"github.com/dgraph-io/badger/v4/y"
)

// A log starts with the id of its encryption key, 8 bytes, and 12 random bytes.
const logHeader = 20

const (
	bitTransaction = 1 << 6 // a record in a transaction
	bitEnd         = 1 << 7 // the end of a transaction
	maxKey         = 1 << 16
)

// CheckLog checks the start of the log of a memtable (.mem) or of a value log (.vlog). A log may
// be shorter if its process was killed.
func CheckLog(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var header [8]byte
	if n, _ := f.ReadAt(header[:], 0); n == len(header) && binary.BigEndian.Uint64(header[:]) != 0 {
		return errors.New("it does not start like a log")
	}
	return nil
}

// ReadLog calls visit with the records of a memtable's log that Badger will read: those of
// complete transactions, up to the first incomplete one.
func ReadLog(path string, visit func(Record)) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(data) < logHeader {
		return nil
	}
	data = data[logHeader:]
	var waiting []Record
	var transaction uint64
	for {
		meta, key, value, size := entry(data)
		if size == 0 {
			return nil
		}
		data = data[size:]
		switch {
		case meta&bitTransaction != 0:
			r := Record{Key: y.ParseKey(key), Version: y.ParseTs(key), Deleted: meta&bitDelete != 0, Value: value}
			if len(waiting) == 0 {
				transaction = r.Version
			}
			if r.Version != transaction {
				return nil
			}
			waiting = append(waiting, r)
		case meta&bitEnd != 0:
			if version, err := strconv.ParseUint(string(value), 10, 64); err != nil || version != transaction {
				return nil
			}
			for _, r := range waiting {
				visit(r)
			}
			waiting, transaction = waiting[:0], 0
		case len(waiting) > 0:
			return nil
		default:
			visit(Record{Key: y.ParseKey(key), Version: y.ParseTs(key), Deleted: meta&bitDelete != 0, Value: value})
		}
	}
}

// entry returns the first entry of data and its size in bytes, or 0 if it is incomplete: meta and
// user meta, one byte each; the lengths of key and value and the expiry as varints; key and
// value; and their CRC-32C.
func entry(data []byte) (meta byte, key, value []byte, size int) {
	if len(data) < 2 {
		return 0, nil, nil, 0
	}
	at := 2
	var fields [3]uint64
	for i := range fields {
		v, n := binary.Uvarint(data[at:])
		if n <= 0 {
			return 0, nil, nil, 0
		}
		fields[i] = v
		at += n
	}
	keySize, valueSize := fields[0], fields[1]
	left := uint64(len(data) - at)
	if keySize < 8 || keySize > maxKey || valueSize > left || keySize+valueSize+crc32.Size > left {
		return 0, nil, nil, 0
	}
	end := at + int(keySize+valueSize)
	if crc32.Checksum(data[:end], castagnoli) != binary.BigEndian.Uint32(data[end:]) {
		return 0, nil, nil, 0
	}
	return data[0], data[at : at+int(keySize)], data[at+int(keySize) : end], end + crc32.Size
}

// CheckKeys checks the KEYREGISTRY of a database without encryption: 16 random bytes and a text.
func CheckKeys(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if text := []byte("Hello Badger"); len(data) != 16+len(text) || !bytes.HasSuffix(data, text) {
		return fmt.Errorf("it is not a complete key registry: %d bytes", len(data))
	}
	return nil
}
