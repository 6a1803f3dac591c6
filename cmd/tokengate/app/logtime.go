package app

import (
	"bytes"
	"sync"
	"time"

	"go.uber.org/zap/zapcore"
)

// logTimeLayout is that of zapcore.ISO8601TimeEncoder.
const logTimeLayout = "2006-01-02T15:04:05.000Z0700"

// timestampCache is the text of a second's times, but for the milliseconds.
type timestampCache struct {
	second int64
	zone   *time.Location
	text   []byte
	millis int // where in text they stand
}

var stamps = sync.Pool{New: func() any { return &timestampCache{} }}

// encodeLogTime writes what zapcore.ISO8601TimeEncoder writes. Most lines fall
// into the same second as the one before, and of these only the milliseconds
// are formatted.
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
