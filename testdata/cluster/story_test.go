//go:build cluster

package main_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// jira is a Jira-shaped server as Atlassian's chart deploys it: a pod, and a Service with port 80.
const jira = `
apiVersion: v1
kind: Pod
metadata:
  name: jira-0
  labels: {app.kubernetes.io/name: jira}
spec:
  automountServiceAccountToken: false
  containers:
  - name: jira
    image: atlassian/jira-software:11.3.10
    ports: [{name: http, containerPort: 8080}]
    readinessProbe: {httpGet: {path: /status, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: jira}
spec:
  selector: {app.kubernetes.io/name: jira}
  ports: [{name: http, port: 80, targetPort: http}]
`

// startJira starts a Jira in the namespace jira.
func startJira(t *testing.T) {
	t.Helper()
	namespace(t, "jira")
	kubectl(t, "jira", jira, "apply", "-f", "-")
	kubectl(t, "jira", "", "wait", "--for=condition=Ready", "pod/jira-0", "--timeout=2m")
}

// gate is a tokengate in the cluster.
type gate struct {
	namespace string
	workload  string // whose first pod's container tokengate runs commands
	client    *client
	page      *readme
}

// selector returns the selector of its pods.
func (g gate) selector() string {
	_, name, _ := strings.Cut(g.workload, "/")
	return "app.kubernetes.io/name=" + name
}

// command runs tokengate's command line in its container.
func (g gate) command(t *testing.T, args ...string) string {
	t.Helper()
	return kubectl(t, g.namespace, "", append([]string{"exec", g.workload, "--container", "tokengate", "--", "tokengate"}, args...)...)
}

// create creates a token, and returns its id and value.
func (g gate) create(t *testing.T, user, name string, args ...string) (id, value string) {
	t.Helper()
	value = strings.TrimSpace(g.command(t, append([]string{"token", "create", "--user", user, "--name", name}, args...)...))
	return value[len("tgate_"):][:12], value
}

// expect sends a request until it has an expected answer: another replica may hear of a change a moment later.
func (g gate) expect(t *testing.T, title string, status int, contains, method, path, body string, headers ...string) string {
	t.Helper()
	var got int
	var answer string
	var err error
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		got, answer, err = g.client.do(t.Context(), method, path, body, headers...)
		if err == nil && got == status && strings.Contains(answer, contains) || method != "GET" {
			break
		}
	}
	if err != nil || got != status || !strings.Contains(answer, contains) {
		t.Errorf("%s: status %d, want %d with %q; error %v", title, got, status, contains, err)
	}
	return answer
}

// story tells the whole story of a token through the Service's address.
func (g gate) story(t *testing.T) {
	t.Helper()
	const myself = "/rest/api/2/myself"
	basic := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	id, value := g.create(t, "fred", "ci", "--read-only", "--ip", "192.0.2.0/24")
	g.expect(t, "the token works", 200, `"name":"fred"`, "GET", myself, "", "Authorization", basic("fred", value))
	g.expect(t, "as a Bearer token", 200, `"name":"fred"`, "GET", myself, "", "Authorization", "Bearer "+value)
	g.expect(t, "of another user", 401, "", "GET", myself, "", "Authorization", basic("wilma", value))
	g.expect(t, "it is read-only", 403, "", "POST", "/rest/api/2/issue", `{"fields":{"summary":"a"}}`, "Authorization", "Bearer "+value)
	g.expect(t, "in another network", 403, "", "GET", myself, "", "Authorization", "Bearer "+value, "X-Forwarded-For", "198.51.100.1")
	g.expect(t, "outside of /rest/", 403, "", "GET", "/secure/Dashboard.jspa", "", "Authorization", "Bearer "+value)
	g.expect(t, "a client names itself", 401, "", "GET", myself, "", "X-Forwarded-User", "fred")
	g.command(t, "token", "revoke", id)
	g.expect(t, "after it is revoked", 401, "", "GET", myself, "", "Authorization", "Bearer "+value)

	_, short := g.create(t, "fred", "short", "--expires", "3s")
	g.expect(t, "a token of three seconds", 200, `"name":"fred"`, "GET", myself, "", "Authorization", "Bearer "+short)
	g.expect(t, "has expired", 401, "expired", "GET", myself, "", "Authorization", "Bearer "+short)

	const api = "/rest/api-tokens/latest/"
	password := basic("fred", "yabba-dabba")
	answer := g.expect(t, "fred creates his own", 200, `"state":"active"`, "POST", api, `{"label":"my script"}`, "Authorization", password)
	var own struct{ ID, PasswordValue string }
	if err := json.Unmarshal([]byte(answer), &own); err != nil {
		t.Fatal("the answer to a create is no JSON")
	}
	g.expect(t, "and uses it", 200, `"name":"fred"`, "GET", myself, "", "Authorization", "Bearer "+own.PasswordValue)
	g.expect(t, "the page shows it", 200, "my script", "GET", "/plugins/servlet/api-tokens", "", "Authorization", password)
	g.expect(t, "he revokes it", 204, "", "DELETE", api+own.ID, "", "Authorization", password)
	g.expect(t, "it is gone", 401, "", "GET", myself, "", "Authorization", "Bearer "+own.PasswordValue)

	log := kubectl(t, g.namespace, "", "logs", "--selector", g.selector(), "--container", "tokengate", "--tail", "-1")
	if want := fmt.Sprintf("fred authenticated via API Token (%s)", id); !strings.Contains(log, want) {
		t.Errorf("no log has %q", want)
	}
	for _, secret := range []string{value, short, own.PasswordValue} {
		if strings.Contains(log, secret) || strings.Contains(log, secret[20:50]) {
			t.Error("a log contains a token")
		}
	}
}
