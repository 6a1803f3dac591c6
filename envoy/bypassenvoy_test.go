package envoy_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/tokengate/tokengate/authz/authztest"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/envoy/envoytest"
)

// bypassRig is a server behind two real Envoys, of which one forwards requests without a
// credential itself. The servers behind Envoy answer with what they received.
type bypassRig struct {
	*gate
	asking, bypassing *bypassSide

	mu     sync.Mutex
	reason string // of the last answer; "" if the server was not asked
	logged int    // the length of the log before the last request
}

// bypassResult is what a request led to.
type bypassResult struct {
	reason string // of the server; "" if it was not asked
	answer string // with what arrived behind Envoy
	log    string // except the lines of no_credential
}

// bypassSide is one Envoy and a persistent connection to it.
type bypassSide struct {
	addr   string
	conn   net.Conn
	reader *bufio.Reader
}

func newBypassRig(t *testing.T, edit func(*config.Config)) *bypassRig {
	t.Helper()
	r := &bypassRig{gate: newGate(t, byMetadata)}
	var clock atomic.Int64 // each look at it is a second later, so that no log line is suppressed
	r.server.Now = func() time.Time { return now.Add(time.Duration(clock.Add(1)) * time.Second) }
	c := config.Default()
	edit(&c)
	r.server.Policy.Store(policy.New(c))
	dir := envoytest.Dir(t)
	c.Upstream.URL = echo(t, "jira").URL
	c.Listen.HTTP.Address = config.Address{Network: "tcp", Address: echo(t, "tokengate").Listener.Addr().String()}
	c.Listen.GRPC.Address = config.Address{Network: "unix", Address: filepath.Join(dir, "authz.sock")}
	l, err := net.Listen("unix", c.Listen.GRPC.Address.Address)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, checkFunc(r.check))
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	start := func(bypass bool) *bypassSide {
		c.Envoy.Bypass = bypass
		opts := envoy.BootstrapOptions{Listen: "127.0.0.1:0", AdminSocket: filepath.Join(dir, fmt.Sprint(bypass))}
		side := &bypassSide{addr: envoytest.Start(t, generateBootstrap(t, c, opts)).Addr}
		t.Cleanup(side.hangUp)
		return side
	}
	r.asking, r.bypassing = start(false), start(true)
	return r
}

// check asks the server and keeps the reason.
func (r *bypassRig) check(ctx context.Context, q *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	answer, err := r.client.Check(metadata.AppendToOutgoingContext(ctx, "x-client-ip", "10.1.2.3"), q)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reason = reasonOf(answer)
	return answer, err
}

// send sends a request through one Envoy.
func (r *bypassRig) send(t *testing.T, s *bypassSide, q rawRequest) bypassResult {
	t.Helper()
	r.mu.Lock()
	r.reason = ""
	r.mu.Unlock()
	answer, err := s.exchange(q)
	if err != nil {
		t.Fatal(token.Redact(fmt.Sprintf("%q: %v", q, err)))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	log := r.log.String()
	before := r.logged
	r.logged = len(log)
	var lines []string
	for line := range strings.Lines(log[before:]) {
		if !strings.Contains(line, "no_credential") {
			lines = append(lines, requestID.ReplaceAllString(line, ""))
		}
	}
	return bypassResult{r.reason, answer, strings.Join(lines, "")}
}

var requestID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// echo starts a server that answers with what it received, except X-Request-Id.
func echo(t *testing.T, name string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Set-Cookie", "JSESSIONID=new")
		body, _ := io.ReadAll(q.Body)
		_, _ = fmt.Fprintf(w, "%s received %s %s %q\n%s", name, q.Method, q.RequestURI, body, headerText(q.Header))
	}))
	t.Cleanup(s.Close)
	return s
}

// headerText returns a header's lines in order, except those that differ by request.
func headerText(header http.Header) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(header)) {
		if name != "X-Request-Id" && name != "Date" {
			_, _ = fmt.Fprintf(&b, "%s: %q\n", name, header[name])
		}
	}
	return b.String()
}

func (s *bypassSide) hangUp() {
	if s.conn != nil {
		s.conn.Close()
	}
	s.conn = nil
}

// exchange sends a request byte for byte, and returns the whole answer: with it, what arrived
// behind Envoy.
func (s *bypassSide) exchange(q rawRequest) (string, error) {
	if s.conn == nil {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			return "", err
		}
		s.conn, s.reader = conn, bufio.NewReader(conn)
	}
	lines := append([]string{q.method + " " + q.target + " HTTP/1.1", "Host: jira.example.com"}, q.header...)
	if q.body != "" {
		lines = append(lines, fmt.Sprint("Content-Length: ", len(q.body)))
	}
	if _, err := io.WriteString(s.conn, strings.Join(lines, "\r\n")+"\r\n\r\n"+q.body); err != nil {
		return "", err
	}
	response, err := http.ReadResponse(s.reader, &http.Request{Method: q.method})
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.Close {
		s.hangUp()
	}
	return fmt.Sprintf("%s\n%s\n%s", response.Status, headerText(response.Header), body), nil
}

// rawRequest is a request as it is sent.
type rawRequest struct {
	method, target string
	header         []string
	body           string
}

// requestMaker makes requests of all kinds: of browsers, with credentials, and with what
// could hide one.
type requestMaker struct {
	*rand.Rand
	contextPath string
	paths       []string
	values      []string // of query parameters
	credentials []string
}

func newRequestMaker(t *testing.T, r *bypassRig, contextPath string) *requestMaker {
	t.Helper()
	value := r.value.Reveal()
	encoded := func(skip int) string {
		return base64.StdEncoding.EncodeToString([]byte("fred:"[:skip] + value))
	}
	m := &requestMaker{
		Rand: rand.New(rand.NewPCG(14, uint64(len(contextPath)))), contextPath: contextPath,
		paths: []string{"/", "/browse/A-1", "/rest/api/2/search", "/rest/api/2/myself", "/secure/Dashboard.jspa", "/login.jsp", "/rest/auth/1/session",
			"/rest/auth/latest/session/", "/rest/auth/1/s%65ssion", "/rest/auth/1/session.json", "/plugins/servlet/api-tokens", "/rest/api-tokens/latest/own",
			"/%72est/api-tokens/latest", "/rest/api-tokensX", "/s/x/_/download/a.js", "//", "/a/../b", "/a/./b", "/a;jsessionid=1/b", "/a%2fb", "/a%3Bb", "/a%5cb", "/a%b", `/a\b`,
			"/a%20b", "/%E2%82%AC", "/\xe2\x82\xac", "/a|b", "/a^b", "/" + value, "/%74" + value[1:], "/x" + value[:40], "*", "", "http://jira.example.com/browse/A-1"},
		values: []string{"", "1", "A-1", "fred", "project%20%3D%20A%20order%20by%20x", "%zz", "%", "a;os_username=x", value, value[:50], value + "x", "tgate_", "TGATE_",
			strings.Replace(value, "_", "%5F", 1), strings.Replace(value, "_", "%255F", 1), "%74" + value[1:], encoded(0), encoded(1), encoded(2), encoded(0)[:24], "%00", "%2526", "a?os_username=b", "+", "%C3%A9", "a#b", "/a/b", "a|b"},
		credentials: []string{"Bearer " + value, "Bearer " + value, "Basic " + base64.StdEncoding.EncodeToString([]byte("fred:"+value)), "Bearer " + value + "x", "Basic " + encoded(5), "Basic ZnJlZDp5YWJiYQ==", "Basic !", "Negotiate YII", "Bearer other", "", "tgate_"},
	}
	m.paths = append(m.paths, targets(t, contextPath)...)
	return m
}

// corpus returns the seeds of the fuzz tests and, in the long version, a request for every path.
func (m *requestMaker) corpus(value string) (all []rawRequest) {
	for _, header := range authztest.Authorizations(value) {
		all = append(all, rawRequest{method: "GET", target: m.contextPath + "/rest/api/2/myself", header: []string{"Authorization: " + header}})
	}
	for _, query := range authztest.Queries(value) {
		all = append(all, rawRequest{method: "GET", target: m.contextPath + "/rest/api/2/myself?" + query})
	}
	for _, path := range authztest.SessionPaths {
		all = append(all, rawRequest{method: "POST", target: m.contextPath + path, body: "{}"})
	}
	for _, q := range authztest.Requests(value) {
		raw := rawRequest{method: q.Method, target: m.contextPath + q.Target}
		for name, value := range map[string]string{"User-Agent": q.UserAgent, "Origin": q.Origin} {
			if value != "" {
				raw.header = append(raw.header, name+": "+value)
			}
		}
		all = append(all, raw)
	}
	if bypassRequests > len(m.paths) {
		for _, path := range m.paths {
			all = append(all, rawRequest{method: "GET", target: path})
		}
	}
	return all
}

func (m *requestMaker) of(list ...string) string { return list[m.IntN(len(list))] }

// next returns a request. Half of them are like those of browsers.
func (m *requestMaker) next() rawRequest {
	q := rawRequest{method: m.of("GET", "GET", "GET", "POST"), target: m.of(m.paths[:7]...)}
	if m.IntN(3) > 0 {
		q.header = append(q.header, "Cookie: JSESSIONID=6A0C; x=1")
	}
	odd := m.IntN(2) == 0
	if odd {
		q.method = m.of(q.method, q.method, "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "get")
		q.target = m.of(m.paths...)
	}
	if q.method == "POST" || q.method == "PUT" || q.method == "PATCH" {
		q.body = m.of("", "x=1", `{"username":"fred","password":"`+m.of(m.values...)+`"}`)
	}
	if m.contextPath != "" && m.IntN(4) > 0 && strings.HasPrefix(q.target, "/") && !strings.HasPrefix(q.target, m.contextPath) {
		q.target = m.contextPath + q.target
	}
	q.target += m.query(odd)
	if odd {
		q.header = append(q.header, m.headers()...)
	}
	return q
}

// query returns a query, or none.
func (m *requestMaker) query(odd bool) string {
	var b strings.Builder
	separator := "?"
	for range m.IntN(3) {
		name := m.of("a", "jql", "x")
		if odd {
			name = m.of("a", "", "os_username", "os_password", "os_authType", "OS_USERNAME", "os%5Fusername", "%6Fs_username", "os_", "access_token",
				"access%5Ftoken", "Access_Token", "x[os_username]", "%00", "tgate_", "%")
		}
		value := m.of(m.values[:5]...)
		if odd {
			value = m.of(m.values...)
		}
		b.WriteString(separator + name + "=" + value)
		separator = "&"
		if odd {
			separator = m.of("&", "&", "&", "&&", ";", "?")
		}
	}
	return b.String()
}

// headers returns headers that could carry a credential or an identity.
func (m *requestMaker) headers() (list []string) {
	for _, line := range []string{
		"Authorization: " + m.of(m.credentials...), "User-Agent: " + m.of("curl/8.5.0", m.of(m.values...)), "Origin: " + m.of("https://jira.example.com", "null", m.of(m.values...)),
		"X-HTTP-Method-Override: " + m.of("DELETE", ""), "X-Method-Override: GET", "X-HTTP-Method: GET", "Upgrade: " + m.of("websocket", "h2c"),
		"X-Forwarded-User: admin", "x-tokengate-authenticated: 1", "X-Tokengate-Client-Ip: 10.0.0.1", "X-Forwarded-For: 10.9.9.9", "x-envoy-original-path: /x", "Proxy-Authorization: Basic x",
		"Referer: http://jira.example.com/?" + m.of(m.values...),
	} {
		if m.IntN(5) == 0 {
			list = append(list, line)
		}
	}
	if m.IntN(20) == 0 {
		list = append(list, "Authorization: "+m.of(m.credentials...), "Authorization: "+m.of(m.credentials...))
	}
	return list
}

// TestBypassChangesNothing sends the same requests through both Envoys: the answers, what
// arrives behind Envoy, and the log are the same, except the log lines of no_credential.
func TestBypassChangesNothing(t *testing.T) {
	t.Parallel()
	for _, c := range bypassConfigurations {
		name := fmt.Sprintf("passwords %s, query parameter %q, context %q", c.mode, c.parameter, c.contextPath)
		t.Run(name, func(t *testing.T) {
			r := newBypassRig(t, func(to *config.Config) {
				to.Passwords.Mode, to.Tokens.QueryParameter, to.Upstream.ContextPath = c.mode, c.parameter, c.contextPath
				to.Tokens.Paths = []string{"/", "*"}
			})
			m := newRequestMaker(t, r, c.contextPath)
			bypassed, asked, differences := 0, map[string]int{}, 0
			corpus := m.corpus(r.value.Reveal())
			for n := 0; n < len(corpus)+bypassRequests && differences < 10; n++ {
				q := rawRequest{}
				if n < len(corpus) {
					q = corpus[n]
				} else {
					q = m.next()
				}
				a, b := r.send(t, r.asking, q), r.send(t, r.bypassing, q)
				switch {
				case a.reason == "": // Envoy answered
				case b.reason == "":
					bypassed++
				default:
					asked[a.reason]++
				}
				if a.reason == "no_credential" && b.reason == "" {
					b.reason = a.reason
				}
				if a != b {
					differences++
					t.Error(token.Redact(fmt.Sprintf("%q:\n%+v\nbut bypassing\n%+v", q, a, b)))
				}
			}
			t.Log(bypassed, asked)
			if bypassed < bypassRequests/5 || asked["allowed"] == 0 || asked["no_credential"] < bypassRequests/100 || len(asked) < 6 {
				t.Errorf("%d of %d requests were bypassed, the others were %v: the requests need other proportions", bypassed, bypassRequests, asked)
			}
		})
	}
}

type bypassConfiguration struct {
	mode                   config.PasswordMode
	parameter, contextPath string
}
