package app

import (
	"bytes"
	"sync"
	"time"

	"go.uber.org/zap/zapcore"
)

// logTimeLayout is the layout of zapcore.ISO8601TimeEncoder.
const logTimeLayout = "2006-01-02T15:04:05.000Z0700"

// timestampCache is the formatted time of one second, with room for the milliseconds.
type timestampCache struct {
	second int64
	zone   *time.Location
	text   []byte
	millis int // their position in text
}

var stamps = sync.Pool{New: func() any { return &timestampCache{} }}

// encodeLogTime writes the same text as zapcore.ISO8601TimeEncoder. Most lines fall into
// the same second as the previous one; for these it formats only the milliseconds.
func encodeLogTime(t time.Time, to zapcore.PrimitiveArrayEncoder) {
	s := stamps.Get().(*timestampCache)
	if second := t.Unix(); len(s.text) == 0 || s.second != second || s.zone != t.Location() {
		s.second, s.zone = second, t.Location()
		s.text = t.AppendFormat(s.text[:0], logTimeLayout)
		s.millis = bytes.IndexByte(s.text, '.') + 1
	}
	ms := t.Nanosecond() / 1e6
	s.text[s.millis], s.text[s.millis+1], s.text[s.millis+2] = byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10)
	to.AppendByteString(s.text)
	stamps.Put(s)
}
