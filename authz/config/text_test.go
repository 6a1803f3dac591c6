package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz/config"
)

const day = 24 * time.Hour

func TestParseLifetime(t *testing.T) {
	tests := []struct {
		text   string
		want   time.Duration
		spelt  string // by String; "" where it is text
		refuse string // part of the error
	}{
		{text: "90d", want: 90 * day},
		{text: "12h", want: 12 * time.Hour},
		{text: "30m", want: 30 * time.Minute},
		{text: "2s", want: 2 * time.Second},
		{text: "52w", want: 364 * day, spelt: "364d"},
		{text: "1w1d1h1m1s", want: 8*day + time.Hour + time.Minute + time.Second, spelt: "8d1h1m1s"},
		{text: "1d12h", want: 36 * time.Hour},
		{text: "36h", want: 36 * time.Hour, spelt: "1d12h"},
		{text: "0d1s", want: time.Second, spelt: "1s"},
		{text: "007d", want: 7 * day, spelt: "7d"},
		{text: "106751d23h47m16s", want: 106751*day + 23*time.Hour + 47*time.Minute + 16*time.Second},
		{text: "106751d23h47m17s", refuse: "too long"},
		{text: "106752d", refuse: "too long"},
		{text: "15251w", refuse: "too long"},
		{text: "9223372036854775807w", refuse: "too long"},
		{text: "9223372036854775808s", refuse: "too long"},
		{text: "0s", refuse: "is zero"},
		{text: "0d0h", refuse: "is zero"},
		{text: "", refuse: "not a lifetime"},
		{text: "d", refuse: "not a lifetime"},
		{text: "90", refuse: "not a lifetime"},
		{text: "1d2", refuse: "not a lifetime"},
		{text: "1d-2h", refuse: "not a lifetime"},
		{text: "+1d", refuse: "not a lifetime"},
		{text: " 1d", refuse: "not a lifetime"},
		{text: "1d ", refuse: "not a lifetime"},
		{text: "1h1d", refuse: "not a lifetime"},
		{text: "1d1d", refuse: "not a lifetime"},
		{text: "1.5d", refuse: "not a lifetime"},
		{text: "1y", refuse: "not a lifetime"},
		{text: "1D", refuse: "not a lifetime"},
		{text: "1dd", refuse: "not a lifetime"},
		{text: "\u0661d", refuse: "not a lifetime"}, // an Arabic digit
		{text: "unlimited1d", refuse: "not a lifetime"},
		{text: "UNLIMITED", refuse: "not a lifetime"},
	}
	for _, test := range tests {
		got, err := config.ParseLifetime(test.text)
		if test.refuse != "" {
			if err == nil || !strings.Contains(err.Error(), test.refuse) || got != (config.Lifetime{}) {
				t.Errorf("%q: %v, error %v; want one about %q", test.text, got, err, test.refuse)
			}
			continue
		}
		if err != nil || got != (config.Lifetime{Duration: test.want}) {
			t.Errorf("%q: %+v, error %v; want %v", test.text, got, err, test.want)
		}
		spelt := test.spelt
		if spelt == "" {
			spelt = test.text
		}
		if got.String() != spelt {
			t.Errorf("%q: String is %q; want %q", test.text, got, spelt)
		}
	}
	forever, err := config.ParseLifetime("unlimited")
	if err != nil || forever != (config.Lifetime{Unlimited: true}) || forever.String() != "unlimited" {
		t.Errorf("unlimited: %+v, error %v", forever, err)
	}
	if zero := (config.Lifetime{}).String(); zero != "0s" {
		t.Errorf("the zero Lifetime is %q", zero)
	}
}

func FuzzParseLifetime(f *testing.F) {
	for _, seed := range []string{"90d", "1w2d3h4m5s", "unlimited", "106752d", "0s", "1h1d", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := config.ParseLifetime(text)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("the error has several lines: %q", err)
			}
			return
		}
		if l.Unlimited != (text == "unlimited") || !l.Unlimited && l.Duration < time.Second {
			t.Fatalf("%q is %+v", text, l)
		}
		again, err := config.ParseLifetime(l.String())
		if err != nil || again != l {
			t.Fatalf("%q is %v, which is %v, error %v", text, l, again, err)
		}
	})
}

func TestParseAddress(t *testing.T) {
	longest := "/run/" + strings.Repeat("a", 96)
	tests := []struct {
		text   string
		want   config.Address
		refuse string // part of the error
	}{
		{text: "unix:///run/x.sock", want: config.Address{Network: "unix", Address: "/run/x.sock"}},
		{text: "unix://" + longest, want: config.Address{Network: "unix", Address: longest}},
		{text: "unix://" + longest + "a", refuse: "102 bytes long; at most 101"},
		{text: "tcp://127.0.0.1:9464", want: config.Address{Network: "tcp", Address: "127.0.0.1:9464"}},
		{text: "tcp://0.0.0.0:1", want: config.Address{Network: "tcp", Address: "0.0.0.0:1"}},
		{text: "tcp://[::]:65535", want: config.Address{Network: "tcp", Address: "[::]:65535"}},
		{text: "tcp://[0:0::1]:080", want: config.Address{Network: "tcp", Address: "[::1]:80"}},
		{text: "tcp://[::ffff:10.0.0.1]:80", want: config.Address{Network: "tcp", Address: "10.0.0.1:80"}},
		{text: "tcp://localhost:80", want: config.Address{Network: "tcp", Address: "localhost:80"}},
		{text: "", refuse: "not a listening address"},
		{text: "127.0.0.1:80", refuse: "not a listening address"},
		{text: "UNIX:///run/x", refuse: "not a listening address"},
		{text: "udp://127.0.0.1:80", refuse: "not a listening address"},
		{text: "unix:/run/x", refuse: "not a listening address"},
		{text: "unix://", refuse: "absolute"},
		{text: "unix://run/x", refuse: "absolute"},
		{text: "unix://@abstract", refuse: "absolute"},
		{text: "unix:///", refuse: "plain"},
		{text: "unix:///run/", refuse: "plain"},
		{text: "unix:////run/x", refuse: "plain"},
		{text: "unix:///run/./x", refuse: "plain"},
		{text: "unix:///run/x\x00", refuse: "printable"},
		{text: "unix:///run/x%20y", refuse: "printable"},
		{text: "unix:///run/\u00fc", refuse: "printable"},
		{text: "tcp://", refuse: "write tcp://host:port"},
		{text: "tcp://127.0.0.1", refuse: "write tcp://host:port"},
		{text: "tcp://::1:80", refuse: "write tcp://host:port"},
		{text: "tcp://:80", refuse: "the host"},
		{text: "tcp://host:80", refuse: "the host"},
		{text: "tcp://[fe80::1%1]:80", refuse: "the host"},
		{text: "tcp://127.0.0.1:", refuse: "the port"},
		{text: "tcp://127.0.0.1:0", refuse: "the port"},
		{text: "tcp://127.0.0.1:65536", refuse: "the port"},
		{text: "tcp://127.0.0.1:+80", refuse: "the port"},
		{text: "tcp://127.0.0.1:http", refuse: "the port"},
	}
	for _, test := range tests {
		got, err := config.ParseAddress(test.text)
		if test.refuse != "" {
			if err == nil || !strings.Contains(err.Error(), test.refuse) || got != (config.Address{}) {
				t.Errorf("%q: %v, error %v; want one about %q", test.text, got, err, test.refuse)
			}
			continue
		}
		if err != nil || got != test.want {
			t.Errorf("%q: %+v, error %v; want %+v", test.text, got, err, test.want)
			continue
		}
		if again, err := config.ParseAddress(got.String()); err != nil || again != got {
			t.Errorf("%q: String is %q, which is %+v, error %v", test.text, got, again, err)
		}
	}
	if zero := (config.Address{}).String(); zero != "" {
		t.Errorf("the zero Address is %q", zero)
	}
}

func TestParsePrefix(t *testing.T) {
	tests := []struct {
		text   string
		want   string
		refuse string // part of the error
	}{
		{text: "10.0.0.0/8", want: "10.0.0.0/8"},
		{text: "0.0.0.0/0", want: "0.0.0.0/0"},
		{text: "192.0.2.7", want: "192.0.2.7/32"},
		{text: "192.0.2.7/32", want: "192.0.2.7/32"},
		{text: "::/0", want: "::/0"},
		{text: "2001:DB8::/32", want: "2001:db8::/32"},
		{text: "::1", want: "::1/128"},
		{text: "::ffff:192.0.2.7", want: "192.0.2.7/32"},
		{text: "::ffff:c000:0207/128", want: "192.0.2.7/32"},
		{text: "::ffff:10.0.0.0/104", want: "10.0.0.0/8"},
		{text: "::ffff:0.0.0.0/96", want: "0.0.0.0/0"},
		{text: "::ffff:0.0.0.0/95", refuse: "write ::fffe:0:0/95"},
		{text: "::ffff:10.0.0.1/104", refuse: "write 10.0.0.0/8 for the network, or 10.0.0.1"},
		{text: "10.1.0.0/8", refuse: "write 10.0.0.0/8 for the network, or 10.1.0.0"},
		{text: "2001:db8::1/32", refuse: "write 2001:db8::/32"},
		{text: "10.0.0.0/33", refuse: "0 to 32"},
		{text: "::/129", refuse: "0 to 128"},
		{text: "10.0.0.0/", refuse: "0 to 32"},
		{text: "10.0.0.0/-1", refuse: "0 to 32"},
		{text: "10.0.0.0/+8", refuse: "0 to 32"},
		{text: "10.0.0.0/08", refuse: "0 to 32"},
		{text: "10.0.0.0/8/8", refuse: "0 to 32"},
		{text: "10.0.0.0/255.0.0.0", refuse: "0 to 32"},
		{text: "fe80::1%eth0", refuse: "zone"},
		{text: "fe80::%eth0/64", refuse: "zone"},
		{text: "10.0.0.01", refuse: "not a network"},
		{text: "10.0.0", refuse: "not a network"},
		{text: "10.0.0.1 ", refuse: "not a network"},
		{text: "*", refuse: "not a network"},
		{text: "", refuse: "not a network"},
	}
	for _, test := range tests {
		got, err := config.ParsePrefix(test.text)
		if test.refuse != "" {
			if err == nil || !strings.Contains(err.Error(), test.refuse) || got.IsValid() {
				t.Errorf("%q: %v, error %v; want one about %q", test.text, got, err, test.refuse)
			}
			continue
		}
		if err != nil || got.String() != test.want || got.Masked() != got.Prefix || got.Addr().Is4In6() {
			t.Errorf("%q: %v, error %v; want %v", test.text, got, err, test.want)
			continue
		}
		again, err := config.ParsePrefix(got.String())
		if diff := cmp.Diff(got, again, comparePrefixes); err != nil || diff != "" {
			t.Errorf("%q: String is %q, which is %v, error %v", test.text, got, again, err)
		}
	}
}
