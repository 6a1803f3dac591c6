package envoy_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/metadata"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/store"
)

// gateRig is a real Envoy with a real server. It keeps the reason of the last
// answer.
type gateRig struct {
	*bootstrapRig
	*gate

	mu     sync.Mutex
	reason string // of the last answer; "" if the server was not asked
	conn   net.Conn
	reader *bufio.Reader
}

func newGateRig(t *testing.T, edit func(*config.Config)) *gateRig {
	t.Helper()
	r := &gateRig{gate: newGate(t, byMetadata)}
	c := config.Default()
	edit(&c)
	r.server.Policy.Store(policy.New(c))
	r.bootstrapRig = newBootstrapRig(t, func(ctx context.Context, q *authv3.CheckRequest) (*authv3.CheckResponse, error) {
		answer, err := r.client.Check(metadata.AppendToOutgoingContext(ctx, "x-client-ip", "10.1.2.3"), q)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.reason = reasonOf(answer)
		return answer, err
	}, false, func(to *config.Config, _ *envoy.BootstrapOptions) { to.Upstream.ContextPath = c.Upstream.ContextPath })
	t.Cleanup(r.hangUp)
	return r
}

func (r *gateRig) hangUp() {
	if r.conn != nil {
		r.conn.Close()
	}
	r.conn = nil
}

// exchange sends a request byte for byte over a persistent connection, and returns
// the status, the server's reason, and the request that arrived behind Envoy; it is
// zero if none did.
func (r *gateRig) exchange(t *testing.T, method, target, body string, header ...string) (status int, reason string, arrived seen) {
	t.Helper()
	r.mu.Lock()
	r.reason = ""
	r.mu.Unlock()
	if r.conn == nil {
		conn, err := net.Dial("tcp", r.envoy.Addr)
		if err != nil {
			t.Fatal(err)
		}
		r.conn, r.reader = conn, bufio.NewReader(conn)
	}
	text := strings.Join(append([]string{method + " " + target + " HTTP/1.1", "Host: jira.example.com"}, header...), "\r\n")
	if _, err := io.WriteString(r.conn, text+"\r\n\r\n"+body); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(r.reader, nil)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	if response.Close {
		r.hangUp()
	}
	select {
	case arrived = <-r.seen:
	default:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return response.StatusCode, r.reason, arrived
}

// createManagement creates a management token.
func (g *gate) createManagement(t *testing.T) token.Value {
	t.Helper()
	value, err := token.Mint(token.Management, token.Random)
	if err != nil {
		t.Fatal(err)
	}
	_, err = g.tokens.Create(context.Background(), store.Token{
		ID: value.ID().String(), Kind: store.Management, Name: "m", State: store.Active, Created: now, CreatedBy: "test", Expires: now.AddDate(1, 0, 0),
		Secret: store.Secret{Salt: [16]byte{1}, Hash: value.Hash([16]byte{1})},
	}, func([]store.Token) (store.Audit, error) { return store.Audit{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// targets returns request targets for a context path: those of the corpus with
// management paths inserted, a fifth of the others, and some that look like
// management paths.
func targets(t *testing.T, contextPath string) []string {
	t.Helper()
	file, err := os.Open("../testdata/paths/corpus.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	known, all := map[string]bool{}, []string{}
	add := func(target string) {
		sendable := !strings.ContainsFunc(target, func(c rune) bool { return c <= ' ' || c == 0x7f || c > '~' })
		if sendable && strings.HasPrefix(target, "/") && !known[target] {
			known[target] = true
			all = append(all, target)
		}
	}
	management := strings.NewReplacer("/rest/api/2/myself", "/rest/api-tokens/latest", "/rest/api", "/rest/api-tokens", "/api/2/myself", "/api-tokens/latest", "servlet/", "servlet/api-tokens/")
	n := 0
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		columns := strings.Split(lines.Text(), "\t")
		if strings.HasPrefix(lines.Text(), "#") || columns[1] != strconv.Quote(contextPath) {
			continue
		}
		target, err := strconv.Unquote(columns[2])
		if err != nil {
			t.Fatal(err)
		}
		if n++; n%5 == 0 {
			add(target)
		}
		if changed := management.Replace(target); changed != target {
			add(changed)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	combinations := 0
	for _, path := range config.ManagementPaths {
		parent, name := path[:strings.LastIndex(path, "/")], path[strings.LastIndex(path, "/")+1:]
		for _, before := range []string{"", "/", "/.", "/x/..", "/s/x/_", "/s/x/_/y/_", "/jira", "/JIRA", "/jira/jira", ";x", "/%2e", "/..", "/%6aira"} {
			for _, spelled := range []string{path, strings.ToUpper(path), parent + "//" + name, parent + "/./" + name, parent + "/x/../" + name, parent + "/%61pi%2Dtokens",
				parent + "/api%2dtokens", parent + "/%2561pi-tokens", parent + ";x/" + name, parent + "%2f" + name, parent + "/latest/" + name, strings.TrimSuffix(path, "s")} {
				// Each context path takes every second one: a real Envoy needs milliseconds for each.
				if combinations++; combinations%2 == len(contextPath)%2 {
					add(before + spelled)
				}
			}
		}
		for _, after := range []string{"/", "//", "/.", "/..", "/../x", "/%2e%2e/x", ";", ";x", ";x/y", "X", "-", "%", "%20", "%00", "%2f", "%2Fx", "%5c", `\x`, "?", "?x", "?/rest/x", "#", "#x", "%23x", "%3F", "%3fx",
			".json", ".xml", ".txt", ".htm", ".html", ".atom", ".JSON", ".json/", ".json?x", ".json/x", "/.json", "/x.json", "/.", ".json.json", ".", "..", "~", "%7e", ",", "@x", ":x", "=", "&", "+", "%2Ejson", "%2ejson", "/2.0/x", "/2.0.alpha1"} {
			add(path + after)
			add(contextPath + path + after)
		}
	}
	return all
}

// In every spelling of a path, Envoy sends to tokengate exactly the requests that
// tokengate decided as management, and to Jira exactly the allowed ones. The rig's
// Jira fails the test if it receives a token.
func TestRoutesAgreeWithDecisions(t *testing.T) {
	t.Parallel()
	for _, contextPath := range []string{"", "/jira"} {
		t.Run("context "+contextPath, func(t *testing.T) {
			t.Parallel()
			r := newGateRig(t, func(c *config.Config) {
				c.Upstream.ContextPath = contextPath
				c.Tokens.Paths = []string{"/", "*"}
				c.Tokens.QueryParameter = "access_token"
			})
			management := r.createManagement(t)
			count := map[string]int{}
			for i, target := range targets(t, contextPath) {
				for _, value := range []token.Value{management, r.value} {
					if value == r.value && i%3 != 0 {
						continue
					}
					_, reason, arrived := r.exchange(t, "GET", target, "", "Authorization: Bearer "+value.Reveal())
					want := map[string]string{"management_path": "tokengate", "allowed": "jira"}[reason]
					if arrived.server != want {
						t.Errorf("%s: decided as %q, arrived at %q, want %q", target, reason, arrived.server, want)
					}
					count[reason]++
				}
			}
			t.Log(count)
			if count["management_path"] < 50 || count["allowed"] < 50 || count["wrong_token_type"] < 200 {
				t.Errorf("%v are too few", count)
			}
		})
	}
}
