// Command standin stands in for the programs that the cluster's tests need beside tokengate and Envoy.
//
//	standin pause                        hold a pod's namespaces
//	standin jira                         answer like Jira, on port 8080
//	standin connect ADDRESS              connect, or exit with 1
//	standin forward ADDRESS URL          an ingress controller: forward requests, and append the client's address
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("standin: ")
	args := os.Args[1:]
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case len(args) == 1 && args[0] == "pause":
		<-ctx.Done()
	case len(args) == 1 && args[0] == "jira":
		err = serve(ctx, ":8080", jira())
	case len(args) == 2 && args[0] == "connect":
		err = connect(ctx, args[1])
	case len(args) == 3 && args[0] == "forward":
		err = forward(ctx, args[1], args[2])
	default:
		err = fmt.Errorf("unknown arguments %q", args)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// jira is a Jira that takes the user from X-Forwarded-User, and has the users and passwords of the tests.
func jira() http.Handler {
	jira := jiratest.New(jiratest.Options{Users: []jiratest.User{
		{Name: "fred", Password: "yabba-dabba", DisplayName: "Fred", Active: true, Groups: []string{"jira-users"}},
		{Name: "wilma", Password: "pebbles", DisplayName: "Wilma", Active: true, Groups: []string{"jira-users", "jira-administrators"}},
	}})
	mux := http.NewServeMux()
	mux.HandleFunc("/status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"state":"RUNNING"}`)
	})
	mux.Handle("/", jira)
	return mux
}

// serve serves until ctx ends and the requests under way are answered.
func serve(ctx context.Context, address string, h http.Handler) error {
	s := http.Server{Addr: address, Handler: h, ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() {
		<-ctx.Done()
		ended <- s.Shutdown(context.Background())
	}()
	log.Printf("listening on %s", address)
	if err := s.ListenAndServe(); err != http.ErrServerClosed {
		return err
	}
	return <-ended
}

func connect(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

func forward(ctx context.Context, address, target string) error {
	to, err := url.Parse(target)
	if err != nil {
		return err
	}
	return serve(ctx, address, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
		r.SetXForwarded()
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = to.Scheme, to.Host, r.In.Host
	}})
}
