package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"
)

// httpLoad sends requests to Envoy, or directly to the upstream.
type httpLoad struct {
	address     string
	credentials *credentials              // nil: requests of browsers with a session
	user        func(owner string) string // whom the upstream must see
	cursor      int
}

// requestTime bounds how long a request may take.
const requestTime = time.Minute

// httpConn sends one request at a time.
type httpConn struct {
	load     *httpLoad
	client   *fasthttp.HostClient
	request  fasthttp.Request
	response fasthttp.Response
}

// dial returns connections that have each sent a request.
func (l *httpLoad) dial(conns int) ([]*httpConn, error) {
	all := make([]*httpConn, conns)
	_, err := parallel(conns, func(n int) (int, error) {
		c := &httpConn{load: l, client: &fasthttp.HostClient{Addr: l.address, MaxConns: 1, MaxIdemponentCallAttempts: 1, ReadTimeout: requestTime, WriteTimeout: requestTime}}
		c.request.SetRequestURI("http://" + jiraHost + searchPath)
		c.request.Header.SetUserAgent("python-requests/2.32.3")
		if l.credentials == nil {
			c.request.Header.SetUserAgent("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36")
			c.request.Header.Set("Cookie", "JSESSIONID=6A0C1D1B2E4F5A69788796A5B4C3D2E1; atlassian.xsrf.token=B2XA-K4QF_1d0c8e7f_lin")
		}
		c.request.Header.Set("Accept-Encoding", "gzip, deflate")
		c.request.Header.Set("Accept", "application/json")
		all[n] = c
		return 1, c.send(l.cursor + n)
	})
	if err != nil {
		return nil, fmt.Errorf("load on %s: %w", l.address, err)
	}
	return all, nil
}

// send sends a request, with credential n if there are credentials, and checks the answer.
func (c *httpConn) send(n int) error {
	owner := ""
	if c.load.credentials != nil {
		var credential []byte
		_, credential, owner = c.load.credentials.at(n)
		c.request.Header.SetBytesV("Authorization", credential)
	}
	if err := c.client.Do(&c.request, &c.response); err != nil {
		return err
	}
	body := c.response.Body()
	if c.response.StatusCode() != fasthttp.StatusOK || len(body) != bodyLength {
		return fmt.Errorf("status %d with %d bytes", c.response.StatusCode(), len(body))
	}
	if got, want := bytes.TrimRight(body, " "), c.load.user(owner); string(got) != want {
		return fmt.Errorf("the upstream saw %q, not %q", got, want)
	}
	return nil
}

// closed sends requests as fast as answers come, one at a time on each connection.
func (l *httpLoad) closed(ctx context.Context, conns int, length time.Duration) (loadResult, error) {
	all, err := l.dial(conns)
	if err != nil {
		return loadResult{}, err
	}
	deadline := time.Now().Add(length)
	result, err := parallel(conns, func(n int) (answers int, err error) {
		defer all[n].client.CloseIdleConnections()
		for cursor := l.cursor + n*10_007; err == nil && ctx.Err() == nil && time.Now().Before(deadline); answers++ {
			err = all[n].send(cursor + answers)
		}
		return answers, err
	})
	l.cursor += result.answers
	if err = errors.Join(err, ctx.Err()); err != nil {
		err = fmt.Errorf("load on %s: %w", l.address, err)
	}
	return result, err
}

// pacedResult is the result of a slice at a fixed rate.
type pacedResult struct {
	p50, p99, p999 float64 // µs
	late           float64 // µs between the due time and the load's sending, p99
}

// paced sends requests at a fixed rate per second, whether answers come or not. The
// time of a request counts from when it was due: one that waits because earlier
// answers are late is late itself (no coordinated omission).
func (l *httpLoad) paced(ctx context.Context, conns int, rate float64, length time.Duration) (pacedResult, error) {
	all, err := l.dial(conns)
	if err != nil {
		return pacedResult{}, err
	}
	total := int(rate * length.Seconds())
	interval := time.Duration(float64(time.Second) / rate)
	due := make(chan int, total)
	var times, late samples
	var mu sync.Mutex
	began := time.Now()
	go func() {
		defer close(due)
		// Go's timers are up to a millisecond late. The kernel's are not, in a thread
		// of high priority. The thread ends with the goroutine.
		runtime.LockOSThread()
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -15)
		for n := 0; n < total && ctx.Err() == nil; n++ {
			at := began.Add(time.Duration(n) * interval)
			for left := time.Until(at); left > 0; left = time.Until(at) {
				request := unix.NsecToTimespec(left.Nanoseconds())
				_ = unix.Nanosleep(&request, nil)
			}
			late = append(late, time.Since(at))
			due <- n
		}
	}()
	result, err := parallel(conns, func(conn int) (answers int, err error) {
		defer all[conn].client.CloseIdleConnections()
		var own samples
		for n := range due {
			if err == nil {
				err = all[conn].send(l.cursor + n)
				own = append(own, time.Since(began)-time.Duration(n)*interval)
			}
		}
		mu.Lock()
		times = append(times, own...)
		mu.Unlock()
		return len(own), err
	})
	l.cursor += total
	if err = errors.Join(err, ctx.Err()); err == nil && result.answers != total {
		err = fmt.Errorf("%d of %d answers came", result.answers, total)
	}
	if err != nil {
		return pacedResult{}, fmt.Errorf("load on %s: %w", l.address, err)
	}
	return pacedResult{micros(times.quantile(0.50)), micros(times.quantile(0.99)), micros(times.quantile(0.999)), micros(late.quantile(0.99))}, nil
}
