package wire_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/envoy/wire"
)

// want returns the reading of asked, changed.
func want(change func(*reading)) reading {
	r := reading{HTTP: true, Request: authz.Request{Method: "GET", Path: "/"}}
	if change != nil {
		change(&r)
	}
	return r
}

var (
	mapHeader = func(name, value string) []byte { return inHTTP(pair(name, value), 3) }
	rawHeader = func(name, value string) []byte { return inHTTP(pair(name, value), 13, 1) }
)

// meanings are frames and their readings. Each is also compared with the
// generated types.
var meanings = []struct {
	name  string
	frame []byte
	want  reading
}{
	{"nothing", nil, reading{}},
	{"no method", inHTTP("/", 4), reading{}},
	{"no path", join(inHTTP("GET", 2), mapHeader("upgrade", "a"), inSource("192.0.2.1", 1, 2)), reading{}},
	{"an empty path after another", join(asked, inHTTP("", 4)), reading{}},
	{"in pieces", asked, want(nil)},
	{"the last method", join(asked, inHTTP("PUT", 2)), want(func(r *reading) { r.Request.Method = "PUT" })},
	{"the last path, far in", join(asked, inHTTP("/x", 4), inHTTP("/y", 4)), want(func(r *reading) { r.Request.Path = "/y" })},
	{"unknown fields", join(piece("x", 2), asked, piece("x", 1, 3), inHTTP("x", 99)), want(nil)},
	{
		"an unknown group, with a group in it",
		join([]byte{0x13, 0x1b, 0x0a, 0x01, 'x', 0x1c, 0x14}, asked),
		want(nil),
	},
	{
		"known fields as numbers",
		join(asked, inHTTP(string(protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.VarintType), 7)))),
		want(nil),
	},
	{"a header", join(asked, mapHeader("upgrade", "a")), want(func(r *reading) { r.Request.Upgrade = "a" })},
	{"its name in capitals", join(asked, mapHeader("UPGRADE", "a")), want(func(r *reading) { r.Request.Upgrade = "a" })},
	{
		"a repeated header", join(asked, mapHeader("upgrade", "a"), mapHeader("Upgrade", "x"), mapHeader("upgrade", "b")),
		want(func(r *reading) { r.Request.Upgrade = "a,x,b" }),
	},
	{"a header without a value", join(asked, inHTTP(string(piece("upgrade", 1)), 3)), want(nil)},
	{"a header without a name", join(asked, inHTTP(string(piece("a", 2)), 3)), want(nil)},
	{
		"a header with two names and values", join(asked, inHTTP(pair("user-agent", "a")+pair("upgrade", "b"), 3)),
		want(func(r *reading) { r.Request.Upgrade = "b" }),
	},
	{
		"the value before the name", join(asked, inHTTP(string(join(piece("b", 2), piece("upgrade", 1))), 3)),
		want(func(r *reading) { r.Request.Upgrade = "b" }),
	},
	{
		"header_map wins", join(asked, mapHeader("upgrade", "a"), rawHeader("user-agent", "b"), mapHeader("upgrade", "c")),
		want(func(r *reading) { r.Request.UserAgent = "b" }),
	},
	{
		"header_map wins with a header that is not read", join(asked, mapHeader("upgrade", "a"), inHTTP("", 13, 1)), want(nil),
	},
	{
		"an empty header_map does not", join(asked, inHTTP("", 13), mapHeader("upgrade", "a")),
		want(func(r *reading) { r.Request.Upgrade = "a" }),
	},
	{
		"header_map, repeated", join(asked, rawHeader("upgrade", ""), rawHeader("Upgrade", "b"), rawHeader("upgrade", ""), rawHeader("UPGRADE", "a")),
		want(func(r *reading) { r.Request.Upgrade = "b,,a" }),
	},
	{
		"raw_value over value", join(asked, inHTTP(pair("upgrade", "a")+string(piece("\xff", 3)), 13, 1)),
		want(func(r *reading) { r.Request.Upgrade = "\xff" }),
	},
	{
		"value over an empty raw_value", join(asked, inHTTP(pair("upgrade", "a")+string(piece("b", 3))+string(piece("", 3)), 13, 1)),
		want(func(r *reading) { r.Request.Upgrade = "a" }),
	},
	{
		"the client's header beside another", join(asked, rawHeader("X-Envoy-External-Address", "a"), rawHeader("upgrade", "b"), rawHeader(addressHeader, "c")),
		want(func(r *reading) { r.Request.Upgrade, r.ClientHeader = "b", "a,c" }),
	},
	{"a body", join(asked, inHTTP("a", 11), inHTTP("b", 11)), want(func(r *reading) { r.Request.Body = "b" })},
	{"a raw body over a body", join(asked, inHTTP("\xff", 12), inHTTP("a", 11)), want(func(r *reading) { r.Request.Body = "\xff" })},
	{"an empty raw body", join(asked, inHTTP("", 12), inHTTP("a", 11)), want(func(r *reading) { r.Request.Body = "a" })},
	{"plain HTTP", join(asked, inHTTP("https", 6), inHTTP("http", 6)), want(func(r *reading) { r.Plain = true })},
	{"HTTPS", join(asked, inHTTP("http", 6), inHTTP("https", 6)), want(nil)},
	{"a source", join(asked, inSource("192.0.2.1", 1, 2)), want(func(r *reading) { r.Source = "192.0.2.1" })},
	{
		"a source in pieces", join(inSource("192.0.2.1", 1, 2), asked, inSource("x", 1, 5), piece("x", 1, 1, 2)),
		want(func(r *reading) { r.Source = "192.0.2.1" }),
	},
	{"a source, then a pipe", join(asked, inSource("192.0.2.1", 1, 2), inSource("", 2)), want(nil)},
	{"a source, then an internal one", join(asked, inSource("192.0.2.1", 1, 2), inSource("x", 3, 1)), want(nil)},
	{
		"a source, then a pipe as a number",
		join(asked, inSource("192.0.2.1", 1, 2), inSource(string(protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.VarintType), 7)))),
		want(func(r *reading) { r.Source = "192.0.2.1" }),
	},
	{
		"a pipe between two sources", join(asked, inSource("192.0.2.1", 1, 2), inSource("/run/s", 2, 1), inSource("", 1)), want(nil),
	},
	{"unread fields, not UTF-8", join(asked, inHTTP("\xff", 5), inSource("\xff", 2, 1), piece("\xff", 1, 12, 1), piece("\x08", 1, 4, 1)), want(nil)},
	{"a destination", join(asked, piece("192.0.2.1", 1, 2, 1, 1, 2)), want(nil)},
}

func TestDecodeAgreesWithGeneratedTypes(t *testing.T) {
	for _, c := range meanings {
		t.Run(c.name, func(t *testing.T) {
			compare(t, c.frame, addressHeader, used(t))
			if diff := cmp.Diff(c.want, decode(t, c.frame), cmp.Comparer(sameRequest)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestDecodeRealFrames(t *testing.T) {
	for name, check := range map[string][]byte{
		"full": frameOf(full()), "trimmed": frameOf(trimmed()), "with metadata": frameOf(withMetadata(full())),
		"raw headers": frameOf(rawHeaders(trimmed(), "Authorization", authorization, "cookie", "c")),
	} {
		t.Run(name, func(t *testing.T) {
			compare(t, check, addressHeader, used(t))
			if got := decode(t, check); !got.HTTP || got.Request.Authorization != authorization || got.Source != "192.0.2.17" {
				t.Errorf("read %+v", got)
			}
		})
	}
}

// Every header in authz.Headers is read, in both forms.
func TestDecodeEveryHeader(t *testing.T) {
	for _, name := range authz.Headers {
		for form, frame := range map[string][]byte{"headers": mapHeader(name, "value"), "header_map": rawHeader(name, "value")} {
			got := decode(t, join(asked, frame))
			if place := got.Request.Header(name); place == nil || *place != "value" {
				t.Errorf("%s in %s was not read", name, form)
			}
		}
	}
}

// malformed are frames that are refused.
var malformed = map[string][]byte{
	"field number 0":                   join(asked, []byte{0x02, 0x00}),
	"field number 0 in a map's entry":  join(asked, inHTTP("\x02\x00", 3)),
	"a varint of eleven bytes":         join(asked, []byte{0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}),
	"a varint beyond 64 bits":          join(asked, []byte{0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02}),
	"a length beyond the end":          join(asked, []byte{0x0a, 0x7f}),
	"a length beyond the message":      join(asked, inHTTP("\x12\x7f")),
	"a reserved wire type":             join(asked, []byte{0x16}),
	"a group's end":                    join(asked, []byte{0x0c}),
	"a group without an end":           join(asked, []byte{0x13}),
	"a group with another's end":       join(asked, []byte{0x13, 0x1c}),
	"a method that is not UTF-8":       join(asked, inHTTP("\xff", 2)),
	"a path that is not UTF-8":         inHTTP("/\xff", 4),
	"an earlier path, not UTF-8":       join(inHTTP("/\xff", 4), asked),
	"a header's name, not UTF-8":       join(asked, mapHeader("\xff", "a")),
	"a value, not UTF-8":               join(asked, mapHeader("upgrade", "\xff")),
	"another header's value":           join(asked, mapHeader("cookie", "\xff")),
	"a value in header_map, not UTF-8": join(asked, rawHeader("upgrade", "\xff")),
	"the source, not UTF-8":            join(asked, inSource("\xff", 1, 2)),
}

func TestDecodeRefusesMalformedFrames(t *testing.T) {
	for name, frame := range malformed {
		t.Run(name, func(t *testing.T) {
			r := used(t)
			compare(t, frame, addressHeader, r)
			if err := wire.Decode(frame, r, addressHeader); err == nil || r.HTTP {
				t.Errorf("read %+v, %v", readingOf(r), err)
			} else if strings.Contains(err.Error(), "\xff") {
				t.Errorf("the error quotes the frame: %v", err)
			}
		})
	}
}

// Truncated frames are read as proto.Unmarshal reads them.
func TestDecodeTruncated(t *testing.T) {
	r := used(t)
	for _, whole := range [][]byte{frameOf(full()), frameOf(withMetadata(trimmed()))} {
		for i := range whole {
			compare(t, whole[:i], addressHeader, r)
		}
	}
}

// Nested groups are skipped up to a depth, and do not exhaust the stack.
func TestDecodeDepth(t *testing.T) {
	open, end := strings.Repeat("\x13", 11_000), strings.Repeat("\x14", 11_000)
	for n, want := range map[int]bool{1000: true, 11_000: false} {
		for name, frame := range map[string][]byte{"outermost": join(asked, []byte(open[:n]+end[:n])), "in http": join(asked, inHTTP(open[:n]+end[:n]))} {
			r := used(t)
			if err := wire.Decode(frame, r, ""); (err == nil) != want || r.HTTP != want {
				t.Errorf("%s, %d groups: %v", name, n, err)
			}
		}
	}
}

// A header may be read both as one of authz.Headers and as the client's
// address.
func TestDecodeHeaderReadTwice(t *testing.T) {
	var raw [][]byte
	for i := range 40 {
		name := []string{"upgrade", "Upgrade", "UPGRADE", "user-agent"}[i%4]
		raw = append(raw, rawHeader(name, fmt.Sprint(i)))
	}
	for n := range 41 {
		compare(t, join(asked, join(raw[:n]...)), "upgrade", used(t))
	}
}

// Reading many spellings of one name takes linear time.
func TestDecodeManySpellings(t *testing.T) {
	frame := append([]byte{}, asked...)
	var http []byte
	for i := range 1 << 15 {
		name := []byte("x-http-method-override")
		for bit, letter := range []int{0, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 14, 15, 16, 17} {
			if i>>bit&1 == 1 {
				name[letter] -= 'a' - 'A'
			}
		}
		http = append(http, piece(pair(string(name), fmt.Sprint(i)), 3)...)
	}
	frame = append(frame, inHTTP(string(http))...)
	compare(t, frame, addressHeader, new(wire.Request))
}
