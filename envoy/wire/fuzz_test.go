package wire_test

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// seeds returns frames for each case that the decoder distinguishes.
func seeds() [][]byte {
	whole := frameOf(full())
	all := [][]byte{
		nil, asked, whole, frameOf(trimmed()), frameOf(withMetadata(full())), bytes.Repeat(whole, 2),
		frameOf(rawHeaders(full(), "Authorization", "Basic YTpi", "upgrade", "h2c", "Upgrade", "websocket")),
	}
	for i := 0; i < len(whole); i += 97 {
		all = append(all, whole[:i])
	}
	for _, c := range meanings {
		all = append(all, c.frame)
	}
	for _, frame := range malformed {
		all = append(all, frame)
	}
	return all
}

// FuzzDecode changes bytes of frames.
func FuzzDecode(f *testing.F) {
	for _, frame := range seeds() {
		f.Add(frame, addressHeader)
	}
	f.Add(frameOf(full()), "")
	f.Add(frameOf(full()), "user-agent")
	f.Add(frameOf(full()), "User-Agent")
	into := used(f)
	f.Fuzz(func(t *testing.T, frame []byte, clientHeader string) {
		compare(t, frame, clientHeader, into)
	})
}

// FuzzComposed changes the input of compose.
func FuzzComposed(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		f.Add(program(random), uint8(random.IntN(256)))
	}
	into := used(f)
	f.Fuzz(func(t *testing.T, program []byte, header uint8) {
		compare(t, compose(program), clientHeaders[int(header)%len(clientHeaders)], into)
	})
}

// TestComposed does the same with random frames in every test run, and checks
// that many of them are read.
func TestComposed(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	into := used(t)
	read, failed := 0, 0
	const frames = 8000
	for i := range frames {
		frame := compose(program(random))
		compare(t, frame, clientHeaders[i%len(clientHeaders)], into)
		if into.HTTP {
			read++
		} else if _, err := oracle(frame, ""); err != nil {
			failed++
		}
	}
	if read < frames/4 || failed < frames/20 {
		t.Errorf("of %d frames %d were read and %d malformed: compose needs other proportions", frames, read, failed)
	}
}

var clientHeaders = []string{addressHeader, "", "user-agent", "X-Token", "x-token", "upgrade"}

func program(random *rand.Rand) []byte {
	b := make([]byte, random.IntN(400))
	for i := range b {
		b[i] = byte(random.IntN(256))
	}
	return b
}
