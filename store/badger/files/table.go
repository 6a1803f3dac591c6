package files

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"github.com/dgraph-io/ristretto/v2/z"
	"google.golang.org/protobuf/proto"
)

var errTable = errors.New("it is not a complete table")

// CheckTable reads a whole table without compression or encryption, and verifies the checksums of
// its blocks and its index. Badger's own check ends the process on some truncated files.
//
// A table consists of its blocks, the index, and the index's trailer. Each block and the index
// are followed by a checksum, and the checksum by its length in 4 bytes, big endian.
func CheckTable(path string) (err error) {
	defer func() {
		if p := recover(); p != nil { // the index is malformed
			err = fmt.Errorf("%w: %v", errTable, p)
		}
	}()
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	end := info.Size()
	back := func(n int64) ([]byte, error) { // the n bytes before end
		if n < 0 || n > end {
			return nil, errTable
		}
		b := make([]byte, n)
		end -= n
		_, err := f.ReadAt(b, end)
		return b, err
	}
	sized := func() ([]byte, error) {
		length, err := back(4)
		if err != nil {
			return nil, err
		}
		return back(int64(binary.BigEndian.Uint32(length)))
	}
	sum, err := sized()
	if err != nil {
		return err
	}
	index, err := sized()
	if err != nil {
		return err
	}
	if err := checkSum(index, sum); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	blocks := bufio.NewReaderSize(io.NewSectionReader(f, 0, end), 256<<10)
	root := fb.GetRootAsTableIndex(index, 0)
	var at int64
	var block []byte
	for i := range root.OffsetsLength() {
		var o fb.BlockOffset
		if !root.Offsets(&o, i) || int64(o.Offset()) != at || at+int64(o.Len()) > end {
			return errTable
		}
		if int(o.Len()) > cap(block) {
			block = make([]byte, o.Len())
		}
		block = block[:o.Len()]
		if _, err := io.ReadFull(blocks, block); err != nil {
			return err
		}
		if err := checkBlock(block); err != nil {
			return fmt.Errorf("block at %d: %w", at, err)
		}
		at += int64(o.Len())
	}
	if at != end || at == 0 {
		return errTable
	}
	return nil
}

func checkBlock(block []byte) error {
	end := len(block) - 4
	if end < 0 {
		return errTable
	}
	begin := end - int(binary.BigEndian.Uint32(block[end:]))
	if begin < 0 || begin > end {
		return errTable
	}
	return checkSum(block[:begin], block[begin:end])
}

func checkSum(data, encoded []byte) error {
	var sum pb.Checksum
	if err := proto.Unmarshal(encoded, &sum); err != nil {
		return errTable
	}
	if _, known := pb.Checksum_Algorithm_name[int32(sum.Algo)]; !known {
		return errTable
	}
	return y.VerifyChecksum(data, &sum)
}

// Record is one version of a key. Its slices are valid until visit returns.
type Record struct {
	Key     []byte // without the version
	Version uint64
	Deleted bool // the version is a deletion
	Value   []byte
}

const bitDelete = 1

// Range is a range of keys, both ends included.
type Range struct{ From, To []byte }

// ReadTable calls visit with the records in the ranges of a table that CheckTable accepts.
func ReadTable(path string, compression options.CompressionType, visit func(Record), ranges ...Range) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errTable, p)
		}
	}()
	f, err := z.OpenMmapFile(path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	t, err := table.OpenTable(f, table.Options{ReadOnly: true, Compression: compression, BlockSize: 4096})
	if err != nil {
		return err
	}
	defer t.Close(-1)
	for _, r := range ranges {
		if bytes.Compare(y.ParseKey(t.Biggest()), r.From) >= 0 && bytes.Compare(y.ParseKey(t.Smallest()), r.To) <= 0 {
			readRange(t, r, visit)
		}
	}
	return nil
}

func readRange(t *table.Table, r Range, visit func(Record)) {
	it := t.NewIterator(0)
	defer it.Close()
	for it.Seek(y.KeyWithTs(r.From, math.MaxUint64)); it.Valid(); it.Next() {
		key, v := y.ParseKey(it.Key()), it.Value()
		if bytes.Compare(key, r.To) > 0 {
			return
		}
		visit(Record{Key: key, Version: y.ParseTs(it.Key()), Deleted: v.Meta&bitDelete != 0, Value: v.Value})
	}
}
