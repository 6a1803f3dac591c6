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
	"github.com/tokengate/tokengate/authz/manage/web/query"
)

// reply is an answer. Nothing is written before it is complete, so that a
// failure on the way can still be told; but for a long one, which has a stream.
type reply struct {
	status int
	body   []byte
	kind   string        // the Content-Type; empty: JSON
	file   string        // the name under which a browser keeps it; empty: it shows it
	allow  string        // the Allow header of a 405
	retry  time.Duration // until it makes sense to ask again; 0: not said
	token  string        // the id of the token that it is about, for the log

	headers map[string]string // others, or in place of what an answer has

	// stream writes the body in place of body.
	stream func(io.Writer) error
}

func (a reply) write(w http.ResponseWriter) {
	a.writeHead(w)
	// What fails now fails because the client is gone.
	_, _ = w.Write(a.body)
}

// writeHead writes the head.
func (a reply) writeHead(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if a.allow != "" {
		h.Set("Allow", a.allow)
	}
	if a.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(a.retry.Seconds()))))
	}
	if a.file != "" {
		h.Set("Content-Disposition", `attachment; filename="`+a.file+`"`)
	}
	switch {
	case a.kind != "":
		h.Set("Content-Type", a.kind)
	case len(a.body) > 0 || a.stream != nil:
		h.Set("Content-Type", authz.DenialType)
	}
	for name, value := range a.headers {
		h.Set(name, value)
	}
	w.WriteHeader(a.status)
}

// encode makes an answer of what is to be told.
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

// streamBuffer is how much of a stream there is before it begins to be sent:
// what fails before can still be told.
const streamBuffer = 64 << 10

// writeTime is how long a client may take to read what fits into a buffer.
const writeTime = 30 * time.Second

// stream writes an answer as it comes. cut says that it failed when a part of
// it was on its way: then the connection has to be cut.
func (d *handler) stream(w http.ResponseWriter, r *http.Request, c manage.Caller, answer reply) (written reply, cut bool, err error) {
	out := &headWriter{w: w, head: answer}
	buffer := bufio.NewWriterSize(out, streamBuffer)
	_, err = d.recoverPanic(func() (reply, error) {
		if err := answer.stream(buffer); err != nil {
			return reply{}, err
		}
		return reply{}, buffer.Flush()
	})
	if err != nil && !out.begun {
		answer = d.refuse(r, c, err)
		answer.write(w)
		return answer, false, err
	}
	if !out.begun {
		answer.writeHead(w)
	}
	return answer, err != nil, err
}

// headWriter writes the head before the first of the body, and gives the client
// time anew for each part.
type headWriter struct {
	w     http.ResponseWriter
	head  reply
	begun bool
}

func (o *headWriter) Write(p []byte) (int, error) {
	if !o.begun {
		o.begun = true
		o.head.writeHead(o.w)
	}
	// Not every ResponseWriter has deadlines, as those of tests.
	_ = http.NewResponseController(o.w).SetWriteDeadline(time.Now().Add(writeTime))
	return o.w.Write(p)
}

// arrayReply answers with JSON whose array is written element by element: each calls
// next with each of them.
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

// formatParameter are the parameter that chooses between JSON and CSV.
var formatParameter = []string{"format"}

// asCSV reports whether the answer is to be CSV.
func asCSV(q query.Values) (bool, error) {
	return query.Choice(q, "format", map[string]bool{"json": false, "csv": true})
}

// csvReply answers with rows of CSV (RFC 4180), all there are: next returns some
// more, and whether others follow.
func csvReply(file string, header []string, next func() (rows [][]string, more bool, err error)) reply {
	return reply{
		status: http.StatusOK,
		kind:   "text/csv;charset=UTF-8;header=present",
		file:   file,
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

// Cell returns a text for a cell of CSV in which no spreadsheet sees a formula. It
// puts an apostrophe, behind which they take everything for text, before what may
// begin one. Some split a file at semicolons or tabs and not at commas, and some
// mind no quotes around a line's end, so what stands behind one of these may come
// to begin a cell, too. Quotes and spaces there are looked through, because
// spreadsheets may take them away. What Cell returns it leaves as it is.
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

// formulaStarts are the characters that may begin one, in full width as well.
const formulaStarts = "=+-@\t\r＝＋－＠"

// firstRune returns what a text begins with behind quotes and spaces; 0 for nothing.
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
