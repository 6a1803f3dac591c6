package directory

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/tokengate/tokengate/store"
)

// sharedRecords are the records that hold the saved snapshot in the store. A record is
// too small for all users. So the snapshot is compressed and split into chunks, and a
// last record, the head, tells which chunks belong together. The next snapshot gets other
// chunks, unless it differs only in its time: then only the head is written.
type sharedRecords struct {
	store  store.Coordinator
	origin string // of the source

	// What read has returned last, because only the head may have changed since.
	sum     string
	content []byte
}

// headRecord is the name of the head.
const headRecord = "directory/head"

// chunkRecord returns the name of a chunk.
func chunkRecord(generation string, n int) string {
	return fmt.Sprintf("directory/%s/%d", generation, n)
}

// savedHead is the JSON of the head.
type savedHead struct {
	Generation string    `json:"generation"` // "a" or "b", in turn
	Chunks     int       `json:"chunks"`
	Sum        string    `json:"sha256"` // hexadecimal; of the content before compression
	Taken      time.Time `json:"taken"`
	Origin     string    `json:"origin"` // see Source
}

// parseHead reads a head.
func parseHead(record []byte, origin string) (h savedHead, err error) {
	if record == nil {
		return h, ErrNotSaved
	}
	if err := json.Unmarshal(record, &h); err != nil {
		return savedHead{}, fmt.Errorf("read the record %s: %w", headRecord, err)
	}
	switch {
	case h.Generation != "a" && h.Generation != "b" || h.Chunks < 1 || h.Chunks > maxSaved/store.MaxShared+1:
		return savedHead{}, fmt.Errorf("the record %s is damaged", headRecord)
	case h.Origin != origin:
		return h, fmt.Errorf("the saved users are from %q, but upstream is %q", Truncate(h.Origin), origin)
	}
	return h, nil
}

// head returns the head.
func (r *sharedRecords) head(ctx context.Context) (savedHead, error) {
	record, err := r.store.Shared(ctx, headRecord)
	if err != nil {
		return savedHead{}, err
	}
	return parseHead(record, r.origin)
}

// readTries is how often read begins again because another server is writing.
const readTries = 3

// read returns the head, and the content that it tells of.
func (r *sharedRecords) read(ctx context.Context) (h savedHead, content []byte, err error) {
	for range readTries {
		record, err := r.store.Shared(ctx, headRecord)
		if err != nil {
			return h, nil, err
		}
		if h, err = parseHead(record, r.origin); err != nil || h.Sum == r.sum {
			return h, r.content, err
		}
		var compressed []byte
		for n := range h.Chunks {
			chunk, err := r.store.Shared(ctx, chunkRecord(h.Generation, n))
			if err != nil {
				return h, nil, err
			}
			compressed = append(compressed, chunk...)
		}
		content, err := decompress(compressed)
		if err == nil && checksum(content) == h.Sum {
			r.sum, r.content = h.Sum, content
			return h, content, nil
		}
		// A server that was slow may have overwritten chunks. Without the head, the next save writes all again.
		removed := false
		err = r.store.UpdateShared(ctx, headRecord, func(now []byte) ([]byte, error) {
			if removed = bytes.Equal(now, record); removed {
				return nil, nil
			}
			return now, nil
		})
		if err != nil {
			return h, nil, err
		}
		if removed {
			return h, nil, errors.New("the saved users were damaged, and have been removed")
		}
	}
	return h, nil, errors.New("other servers save users all the time")
}

// save replaces the saved snapshot, unless another server has saved a newer one.
func (r *sharedRecords) save(ctx context.Context, s *Snapshot, now time.Time) error {
	saved := s.toSaved(r.origin)
	saved.removeTimes()
	content, err := saved.encode()
	if err != nil {
		return err
	}
	before, err := r.store.Shared(ctx, headRecord)
	if err != nil {
		return err
	}
	last, err := parseHead(before, r.origin)
	if err == nil && last.Taken.After(s.taken) && !last.Taken.After(now.Add(maxAhead)) {
		return nil
	}
	next := savedHead{Generation: last.Generation, Chunks: last.Chunks, Sum: checksum(content), Taken: s.taken.UTC(), Origin: r.origin}
	if err != nil || last.Sum != next.Sum {
		next.Generation = "a"
		if last.Generation == "a" {
			next.Generation = "b"
		}
		if next.Chunks, err = r.writeChunks(ctx, next.Generation, content); err != nil {
			return err
		}
	}
	record, err := json.Marshal(next)
	if err != nil {
		return err
	}
	return r.store.UpdateShared(ctx, headRecord, func(now []byte) ([]byte, error) {
		if !bytes.Equal(now, before) {
			return nil, errors.New("another server has saved users at the same time")
		}
		return record, nil
	})
}

// writeChunks writes the chunks of a generation, and returns their number.
func (r *sharedRecords) writeChunks(ctx context.Context, generation string, content []byte) (n int, err error) {
	compressed, err := compress(content)
	if err != nil {
		return 0, err
	}
	for chunk := range slices.Chunk(compressed, store.MaxShared) {
		err := r.store.UpdateShared(ctx, chunkRecord(generation, n), func([]byte) ([]byte, error) { return chunk, nil })
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

func compress(content []byte) ([]byte, error) {
	var to bytes.Buffer
	w, err := gzip.NewWriterLevel(&to, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(content)
	err = errors.Join(err, w.Close())
	return to.Bytes(), err
}

func decompress(content []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, int64(maxSaved)+1))
}

// removeTimes replaces the times of this refresh by zero ones, so that two snapshots with the same users have the
// same content: the head has the time.
func (f *savedSnapshot) removeTimes() {
	for i, u := range f.Users {
		if u.Asked != nil && u.Asked.After(f.Taken) {
			f.Users[i].Asked = nil
		}
	}
	for id, asked := range f.Gone {
		if !asked.Before(f.Taken) {
			f.Gone[id] = time.Time{}
		}
	}
	f.Taken = time.Time{}
}

// snapshot returns the snapshot that was saved. Times that are ahead by up to maxAhead count as now.
func (h savedHead) snapshot(content []byte, now time.Time, stale time.Duration) (*Snapshot, error) {
	f, err := parseSaved(bytes.NewReader(content), h.Origin)
	if err != nil {
		return nil, err
	}
	local := func(at time.Time) time.Time {
		if at.IsZero() {
			at = h.Taken
		}
		if at.After(now) && !at.After(now.Add(maxAhead)) {
			return now
		}
		return at
	}
	f.Taken = local(h.Taken)
	for _, u := range f.Users {
		if u.Asked != nil {
			*u.Asked = local(*u.Asked)
		}
	}
	for id, asked := range f.Gone {
		f.Gone[id] = local(asked)
	}
	return f.snapshot(now, stale)
}
