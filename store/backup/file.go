package backup

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/storepb"
)

// ErrDamaged means that a backup was cut or changed, or is none.
var ErrDamaged = errors.New("the backup is cut or changed")

// firstLine begins a backup: see storepb.BackupHeader for the rest. The number is the version of the format.
const firstLine = "tokengate backup 1\n"

// maxMessage is the maximum size of a message in bytes, far more than that of a record.
const maxMessage = 4 << 20

// Write writes a backup, made now. One that is incomplete because of an error cannot be read.
func Write(ctx context.Context, w io.Writer, records store.Records, now time.Time) error {
	sum := sha256.New()
	out := io.MultiWriter(w, sum)
	if _, err := io.WriteString(out, firstLine); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	if _, err := protodelim.MarshalTo(out, &storepb.BackupHeader{Seconds: now.Unix()}); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	err := records(ctx, func(r store.Record) error {
		_, err := protodelim.MarshalTo(out, &storepb.BackupRecord{Kind: uint32(r.Kind), Key: r.Key, Value: r.Value})
		return err
	})
	if err == nil {
		_, err = protodelim.MarshalTo(out, &storepb.BackupRecord{})
	}
	if err == nil {
		_, err = w.Write(sum.Sum(nil))
	}
	if err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	return nil
}

// File is an open backup.
type File struct {
	file *os.File
	Made time.Time // UTC, whole seconds
}

// Open opens a backup and reads its beginning. Only Records says whether it is whole.
func Open(path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open backup: %w", err)
	}
	f := &File{file: file}
	if _, err := f.begin(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return f, nil
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// Records gives the records to visit: see store.Records. If the file is not whole or was changed, the error is
// ErrDamaged, possibly after all records were visited.
func (f *File) Records(ctx context.Context, visit func(store.Record) error) error {
	in, err := f.begin()
	if err != nil {
		return err
	}
	return in.records(ctx, visit)
}

// Check reads a backup from a stream up to its end, and returns when it was made and what is in it. The name is for errors.
// If it is not whole or was changed, the error is ErrDamaged.
func Check(ctx context.Context, from io.Reader, name string, now time.Time) (made time.Time, c Counts, err error) {
	in := newReader(from, name)
	if made, err = in.begin(); err != nil {
		return made, c, err
	}
	c, err = Count(ctx, in.records, now)
	return made, c, err
}

// records gives the records to visit, once.
func (r *reader) records(ctx context.Context, visit func(store.Record) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		var m storepb.BackupRecord
		if err := r.message(&m); err != nil {
			return r.damaged(err)
		}
		if m.Kind == 0 && m.Key == "" && len(m.Value) == 0 {
			return r.damaged(r.end())
		}
		if m.Kind > 255 {
			return r.damaged(fmt.Errorf("there is a record of kind %d", m.Kind))
		}
		if err := visit(store.Record{Kind: store.RecordKind(m.Kind), Key: m.Key, Value: m.Value}); err != nil {
			return err
		}
	}
}

// begin reads the file from its beginning up to the first record.
func (f *File) begin() (*reader, error) {
	if _, err := f.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	in := newReader(f.file, f.file.Name())
	var err error
	f.Made, err = in.begin()
	return in, err
}

// reader adds up what it reads.
type reader struct {
	in   *bufio.Reader
	name string // for errors
	sum  hash.Hash
}

func newReader(from io.Reader, name string) *reader {
	return &reader{in: bufio.NewReaderSize(from, 64<<10), name: name, sum: sha256.New()}
}

// begin reads up to the first record and returns when the backup was made.
func (r *reader) begin() (made time.Time, err error) {
	line := make([]byte, len(firstLine))
	if _, err := io.ReadFull(r, line); err != nil || string(line) != firstLine {
		return made, fmt.Errorf("%w: %s does not begin with %q; is it a backup of another version?", ErrDamaged, r.name, firstLine[:len(firstLine)-1])
	}
	var header storepb.BackupHeader
	if err := r.message(&header); err != nil {
		return made, r.damaged(err)
	}
	return time.Unix(header.Seconds, 0).UTC(), nil
}

// damaged returns the error of a backup that ends or differs where it must not.
func (r *reader) damaged(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %s: %w", ErrDamaged, r.name, err)
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	r.sum.Write(p[:n])
	return n, err
}

func (r *reader) ReadByte() (byte, error) {
	b, err := r.in.ReadByte()
	if err == nil {
		r.sum.Write([]byte{b})
	}
	return b, err
}

func (r *reader) message(m proto.Message) error {
	return protodelim.UnmarshalOptions{MaxSize: maxMessage}.UnmarshalFrom(r, m)
}

// end compares the checksum.
func (r *reader) end() error {
	want := r.sum.Sum(nil)
	got := make([]byte, sha256.Size)
	if _, err := io.ReadFull(r.in, got); err != nil {
		return err
	}
	if string(got) != string(want) {
		return errors.New("its checksum is wrong")
	}
	if _, err := r.in.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.New("it goes on behind its end")
	}
	return nil
}
