package web

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/manage"
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
