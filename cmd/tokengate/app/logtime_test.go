package app

import (
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
)

// Times read as zap's own encoder writes them, whatever was written before.
func TestLogTime(t *testing.T) {
	east, west := time.FixedZone("", 5*3600+1800), time.FixedZone("", -3600)
	at := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	for _, c := range []time.Time{
		at, at, at.Add(time.Millisecond), at.Add(999*time.Millisecond + 999999), at.Add(time.Second), at.Add(120 * time.Millisecond),
		at.In(east), at.In(west), at, at.Add(-time.Nanosecond), at.Local(), {}, time.Unix(0, 0), time.Unix(-1, 5e8).UTC(),
		time.Date(12345, 1, 1, 0, 0, 0, 78e6, time.UTC), time.Date(-5, 1, 1, 0, 0, 0, 9e6, east),
	} {
		if got, want := encodedTime(encodeLogTime, c), encodedTime(zapcore.ISO8601TimeEncoder, c); got != want {
			t.Errorf("%v: %s, want %s", c, got, want)
		}
	}
}

func encodedTime(encode zapcore.TimeEncoder, t time.Time) string {
	encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{EncodeTime: encode, SkipLineEnding: true})
	encoder.AddTime("time", t)
	line, err := encoder.EncodeEntry(zapcore.Entry{}, nil)
	if err != nil {
		return err.Error()
	}
	return line.String()
}

func BenchmarkLogTime(b *testing.B) {
	for name, encode := range map[string]zapcore.TimeEncoder{"ours": encodeLogTime, "zap's": zapcore.ISO8601TimeEncoder} {
		encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{TimeKey: "time", EncodeTime: encode})
		at := time.Now()
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				at = at.Add(12 * time.Microsecond)
				line, err := encoder.EncodeEntry(zapcore.Entry{Time: at}, nil)
				if err != nil {
					b.Fatal(err)
				}
				line.Free()
			}
		})
	}
}
