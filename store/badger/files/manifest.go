// Package files reads the files of a Badger database (v4, format 8) without changing them. Badger
// itself repairs on opening: it truncates logs, deletes tables that are not in MANIFEST, and skips
// tables with bad checksums. Start reading at ReadManifest, CheckTable and ReadLog.
package files

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"google.golang.org/protobuf/proto"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Manifest is the content of MANIFEST, Badger's list of tables.
type Manifest struct {
	Tables map[uint64]Entry // by the table's id
	MaxID  uint64           // the highest id among Tables
	data   []byte           // up to the end of the last complete change
}

// Entry describes a table in MANIFEST.
type Entry struct {
	Level       int
	Compression options.CompressionType
}

// Mark identifies a state of MANIFEST. Badger appends to the file and rewrites it after many
// thousand changes.
type Mark struct {
	Size  uint64 // bytes
	Sum   uint32 // CRC-32C of these bytes
	MaxID uint64 // the highest table id in MANIFEST
}

// ReadManifest reads the MANIFEST in dir. With sync it also syncs it to disk.
func ReadManifest(dir string, sync bool) (Manifest, error) {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return Manifest{}, err
	}
	defer f.Close()
	found, end, err := badger.ReplayManifestFile(f, 0, badger.Options{})
	if err != nil {
		return Manifest{}, fmt.Errorf("%s cannot be read: %w", badger.ManifestFilename, err)
	}
	m := Manifest{Tables: make(map[uint64]Entry, len(found.Tables)), data: make([]byte, end)}
	for id, t := range found.Tables {
		m.Tables[id] = Entry{Level: int(t.Level), Compression: t.Compression}
		m.MaxID = max(m.MaxID, id)
	}
	if _, err := f.ReadAt(m.data, 0); err != nil {
		return Manifest{}, fmt.Errorf("read %s: %w", badger.ManifestFilename, err)
	}
	if sync {
		return m, errors.Join(f.Sync(), SyncDir(dir))
	}
	return m, nil
}

// Mark returns the mark of m.
func (m Manifest) Mark() Mark {
	return Mark{Size: uint64(len(m.data)), Sum: crc32.Checksum(m.data, castagnoli), MaxID: m.MaxID}
}

// Follows reports whether m is the marked state or a later one.
func (m Manifest) Follows(k Mark) bool {
	if uint64(len(m.data)) >= k.Size && crc32.Checksum(m.data[:k.Size], castagnoli) == k.Sum {
		return true
	}
	// Badger rewrites the file only after adding a table.
	return m.MaxID > k.MaxID
}

// WriteManifest replaces the MANIFEST in dir with one of these tables.
func WriteManifest(dir string, tables map[uint64]Entry) error {
	var set pb.ManifestChangeSet
	for id, t := range tables {
		set.Changes = append(set.Changes, &pb.ManifestChange{
			Id: id, Op: pb.ManifestChange_CREATE, Level: uint32(t.Level), Compression: uint32(t.Compression),
		})
	}
	changes, err := proto.Marshal(&set)
	if err != nil {
		return fmt.Errorf("encode %s: %w", badger.ManifestFilename, err)
	}
	var b bytes.Buffer
	b.WriteString("Bdgr\x00\x00\x00\x08") // format version 8
	b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(changes))))
	b.Write(binary.BigEndian.AppendUint32(nil, crc32.Checksum(changes, castagnoli)))
	b.Write(changes)
	return Replace(filepath.Join(dir, badger.ManifestFilename), b.Bytes())
}

// New follows a file's name in the name of the temporary file that Replace renames to it.
const New = ".new-"

// Replace atomically and durably replaces the file at path.
func Replace(path string, content []byte) error {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	f, err := os.CreateTemp(dir, name+New)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	return SyncDir(dir)
}

// SyncDir syncs a directory's entries to disk.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
