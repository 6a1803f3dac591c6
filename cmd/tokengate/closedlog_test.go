package main

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/tokengate/tokengate/authz/token"
)

// The server continues when the reader of its log ends, and counts the lost lines.
func TestLogReaderGoes(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{noGate: true})
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.gate = newProcess(t, "serve", "--config", r.config)
	r.gate.cmd.Stdout, r.gate.cmd.Stderr = nil, writer
	if err := r.gate.begin(); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	for lines := bufio.NewScanner(reader); lines.Scan() && !strings.Contains(lines.Text(), "tokengate is ready"); {
	}
	reader.Close()

	value := r.mint("unread")
	for range 3 {
		if got := r.send(request{auth: bearer(value)}); got.status != 200 {
			t.Errorf("status %d after the reader of the log has ended", got.status)
		}
	}
	r.until("the count of lost lines", func() bool { return !r.hasMetric("tokengate_log_lines_dropped_total 0") })
	if err := r.gate.stop(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

// A token given in the wrong place does not come back in a message.
func TestMessagesRepeatNoToken(t *testing.T) {
	v, err := token.Mint(token.Ordinary, token.Random)
	if err != nil {
		t.Fatal(err)
	}
	value := v.Reveal()
	for _, args := range [][]string{
		{value}, {"--" + value}, {"token", value}, {"explain", value}, {"config", "check", value}, {"serve", "--config", value},
		{"token", "create", "--user", "fred", "--name", "x", "--ip", value}, {"token", "create", "--user", "fred", "--name", "x", "--expires", value},
		{"token", "rotate", "0123456789ab", "--overlap", value}, {"token", "list", "--admin-socket", value}, {"token", "revoke", value},
	} {
		stdout, stderr, code := command(t, "", "", args...)
		if code == 0 || strings.Contains(stdout+stderr, value[18:61]) {
			t.Errorf("tokengate %s: exit %d, and it prints %s", token.Redact(strings.Join(args, " ")), code, strings.ReplaceAll(stdout+stderr, value[18:61], "SECRET"))
		}
	}
}

// The server logs the suppressed refusals at its end, before the log is closed.
func TestSuppressedRefusalsAreLogged(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	const sent = 300
	for range sent {
		if got := r.send(request{auth: "Bearer tgate_x"}); got.status != 401 {
			t.Errorf("status %d", got.status)
		}
	}
	if err := r.gate.stop(); err != nil {
		t.Error(err)
	}
	shown, suppressed := 0, 0
	for lines := json.NewDecoder(strings.NewReader(r.gate.log.String())); ; {
		var line struct {
			Reason     string
			Suppressed int `json:"malformed_token"`
		}
		if err := lines.Decode(&line); err != nil {
			break
		}
		if line.Reason == "malformed_token" {
			shown++
		}
		suppressed += line.Suppressed
	}
	if shown < 100 || suppressed == 0 || shown+suppressed != sent {
		t.Errorf("%d shown and %d suppressed, of %d", shown, suppressed, sent)
	}
}
