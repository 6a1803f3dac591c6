package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/web"
)

// usageError is a wrong use of a command.
type usageError struct{ error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

const (
	socketFlag     = "admin-socket"
	socketVariable = "TOKENGATE_ADMIN_SOCKET"

	// callTime limits one call to the server; for a long answer, the wait for its
	// beginning.
	callTime = time.Minute
	// maxAnswer limits an answer, in bytes. A page of the longest tokens is shorter.
	maxAnswer = 64 << 20
)

// addSocketFlag adds the flag for the server's socket to a command and its subcommands.
func addSocketFlag(cmd *cobra.Command) {
	cmd.PersistentFlags().String(socketFlag, config.Default().Listen.Admin.Address,
		"`PATH` of the server's admin socket (listen.admin); "+socketVariable+" sets it as well")
}

// client talks to a running server over its admin socket.
type client struct {
	socket string
	http   *http.Client
}

// newClient returns a client for the socket from the command line, the environment or
// the default, in that order.
func newClient(cmd *cobra.Command) (*client, error) {
	flag := cmd.Flags().Lookup(socketFlag)
	socket := flag.Value.String()
	if fromEnvironment := os.Getenv(socketVariable); fromEnvironment != "" && !flag.Changed {
		socket = fromEnvironment
	}
	socket = strings.TrimPrefix(socket, "unix://")
	if len(socket) == 0 || len(socket) > config.MaxSocketPath {
		return nil, usagef("the admin socket's path must have 1 to %d bytes; it has %d", config.MaxSocketPath, len(socket))
	}
	return newSocketClient(socket), nil
}

// newSocketClient returns a client for the socket at a path.
func newSocketClient(socket string) *client {
	return &client{
		socket: socket,
		http: &http.Client{
			Transport: &http.Transport{
				ResponseHeaderTimeout: callTime,
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, "unix", socket)
				},
			},
		},
	}
}

// ask sends a request to a path below the API's base and returns the decoded answer.
func ask[T any](cmd *cobra.Command, method, path string, body any) (answer T, err error) {
	c, err := newClient(cmd)
	if err != nil {
		return answer, err
	}
	return answer, c.call(cmd.Context(), method, path, nil, body, &answer)
}

// call sends a request to a path below the API's base and decodes the response into
// answer, unless it is nil.
func (c *client) call(ctx context.Context, method, path string, query url.Values, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	content, err := c.send(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer content.Close()
	if answer == nil {
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(content, maxAnswer))
	if err == nil {
		err = json.Unmarshal(data, answer)
	}
	if err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}

// send sends a request and returns the body of a successful response, or the refusal as
// an error. The caller closes the body.
func (c *client) send(ctx context.Context, method, path string, query url.Values, body any) (io.ReadCloser, error) {
	target := "http://tokengate" + web.Bases[0] + "/" + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		content = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, target, content)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.explain(err)
	}
	if response.StatusCode/100 == 2 {
		return response.Body, nil
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the server's answer: %w", err)
	}
	return nil, refusal(response.StatusCode, data)
}

// advice ends an error if no server listens.
const advice = "is the server running? Its socket is listen.admin of its configuration: set --" + socketFlag + " or " + socketVariable

// explain returns an error that says what to do if the server cannot be reached.
func (c *client) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no admin socket at %s; %s", c.socket, advice)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no server listens on the admin socket %s; %s", c.socket, advice)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the admin socket %s is not open to this user; run the command as the server's user or as root", c.socket)
	}
	// A url.Error repeats the whole URL, including the filters of a listing.
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	return fmt.Errorf("ask the server over %s: %w", c.socket, err)
}

// refusedError is a refusal by the server.
type refusedError struct{ error }

// refusal returns the error in the server's response.
func refusal(status int, body []byte) error {
	var told struct {
		Message string `json:"message"`
	}
	if err := json.Unmarshal(body, &told); err != nil || told.Message == "" {
		return refusedError{fmt.Errorf("the server answered %d %s", status, http.StatusText(status))}
	}
	return refusedError{errors.New(printable(told.Message))}
}
