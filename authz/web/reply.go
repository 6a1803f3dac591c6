package web

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/web/query"
)

// reply is an answer. Nothing is written before it is complete, so that failures can
// still be reported, unless it has a stream.
type reply struct {
	status      int
	body        []byte
	contentType string        // the Content-Type; empty: JSON
	file        string        // the file name of a download; empty: none
	allow       string        // the Allow header of a 405
	retry       time.Duration // how long to wait; 0: not known
	token       string        // a token's id, for the log

	headers map[string]string // set last

	// stream writes the body, if it is not nil.
	stream func(io.Writer) error
}

func (r reply) write(w http.ResponseWriter) {
	r.writeHead(w)
	// This fails only if the client is gone.
	_, _ = w.Write(r.body)
}

// writeHead writes the status and the headers.
func (r reply) writeHead(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if r.allow != "" {
		h.Set("Allow", r.allow)
	}
	if r.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(r.retry.Seconds()))))
	}
	if r.file != "" {
		h.Set("Content-Disposition", `attachment; filename="`+r.file+`"`)
	}
	switch {
	case r.contentType != "":
		h.Set("Content-Type", r.contentType)
	case len(r.body) > 0 || r.stream != nil:
		h.Set("Content-Type", authz.DenialType)
	}
	for name, value := range r.headers {
		h.Set(name, value)
	}
	w.WriteHeader(r.status)
}

// encode makes a JSON reply.
func encode(answer any) (reply, error) {
	body, err := json.Marshal(answer)
	if err != nil {
		return reply{}, fmt.Errorf("encode the answer: %w", err)
	}
	done := reply{status: http.StatusOK, body: append(body, '\n')}
	if logged, ok := answer.(interface{ logID() string }); ok {
		done.token = logged.logID()
	}
	return done, nil
}

// streamBuffer is how many bytes of a stream are buffered before the first is sent.
// Failures until then can still be reported.
const streamBuffer = 64 << 10

// writeTime bounds how long a client takes to read a buffer.
const writeTime = 30 * time.Second

// stream writes a reply's stream. cut reports that it failed after a part was sent:
// then the connection has to be cut.
func (h *handler) stream(w http.ResponseWriter, r *http.Request, c manage.Caller, answer reply) (written reply, cut bool, err error) {
	out := &headWriter{w: w, head: answer}
	buffer := bufio.NewWriterSize(out, streamBuffer)
	_, err = h.recoverPanic(func() (reply, error) {
		if err := answer.stream(buffer); err != nil {
			return reply{}, err
		}
		return reply{}, buffer.Flush()
	})
	if err != nil && !out.begun {
		answer = h.refuse(r, c, err)
		answer.write(w)
		return answer, false, err
	}
	if !out.begun {
		answer.writeHead(w)
	}
	return answer, err != nil, err
}

// headWriter writes the head before the first bytes, and extends the write deadline
// for each part.
type headWriter struct {
	w     http.ResponseWriter
	head  reply
	begun bool
}

func (h *headWriter) Write(p []byte) (int, error) {
	if !h.begun {
		h.begun = true
		h.head.writeHead(h.w)
	}
	// The ResponseWriters of some tests have no deadlines.
	_ = http.NewResponseController(h.w).SetWriteDeadline(time.Now().Add(writeTime))
	return h.w.Write(p)
}

// arrayReply streams JSON around an array. each calls next with each element.
func arrayReply(before, behind string, each func(next func(any) error) error) reply {
	return reply{status: http.StatusOK, stream: func(w io.Writer) error {
		separator := before
		err := each(func(element any) error {
			body, err := json.Marshal(element)
			if err != nil {
				return fmt.Errorf("encode the answer: %w", err)
			}
			_, err = fmt.Fprintf(w, "%s%s", separator, body)
			separator = ",\n"
			return err
		})
		if err != nil {
			return err
		}
		if separator == before {
			behind = before + behind
		}
		_, err = io.WriteString(w, behind)
		return err
	}}
}

// formatParameter is the parameter that selects JSON or CSV.
var formatParameter = []string{"format"}

// asCSV reports whether the answer is CSV, which has no pages: paged says that the
// query chooses one.
func asCSV(q query.Values, paged bool) (bool, error) {
	is, err := query.Choice(q, "format", map[string]bool{"json": false, "csv": true})
	if is && paged {
		return false, badField("format", "CSV holds all entries that match the filters. Leave limit and after out.")
	}
	return is, err
}

// csvReply streams rows of CSV (RFC 4180). next returns some rows, and whether more
// follow.
func csvReply(file string, header []string, next func() (rows [][]string, more bool, err error)) reply {
	return reply{
		status:      http.StatusOK,
		contentType: "text/csv;charset=UTF-8;header=present",
		file:        file,
		stream: func(w io.Writer) error {
			out := csv.NewWriter(w)
			write := func(row []string) error {
				cells := make([]string, len(row))
				for i, text := range row {
					cells[i] = Cell(text)
				}
				return out.Write(cells)
			}
			if err := write(header); err != nil {
				return fmt.Errorf("write CSV: %w", err)
			}
			for more := true; more; {
				rows, another, err := next()
				if err != nil {
					return err
				}
				for _, row := range rows {
					if err := write(row); err != nil {
						return fmt.Errorf("write CSV: %w", err)
					}
				}
				more = another
			}
			out.Flush()
			return out.Error()
		},
	}
}

// Cell returns a text for a cell of CSV that no spreadsheet takes for a formula: it
// puts an apostrophe before every character that may start one. Some spreadsheets
// also split at semicolons or tabs, and ignore quotes around line ends, so a formula
// may start after these as well. Quotes and spaces before it are skipped, because
// spreadsheets may remove them. Cell is idempotent.
// Source: OWASP, CSV Injection.
func Cell(text string) string {
	var b strings.Builder
	begins, written := true, 0
	for i, r := range text {
		if begins && strings.ContainsRune(formulaStarts, firstRune(text[i:])) {
			b.WriteString(text[written:i] + "'")
			written = i
		}
		begins = strings.ContainsRune(";\t\r\n", r)
	}
	return b.String() + text[written:]
}

// formulaStarts are the characters that may start a formula, full-width forms
// included.
const formulaStarts = "=+-@\t\r＝＋－＠"

// firstRune returns the first character of a text after quotes and spaces; 0 if
// there is none.
func firstRune(text string) rune {
	for _, r := range text {
		if r != '"' && r != ' ' {
			return r
		}
	}
	return 0
}

// csvTime returns a time for a cell; "" for none.
func csvTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
