package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/envoy/envoytest"
)

// maxTokens is the limit on a user's tokens at replicas.
const maxTokens = 4

const replicaConfig = `publicURL: https://jira.example.com
listen:
  grpc: unix://%[1]s/g
  http: unix://%[1]s/h
  admin: unix://%[1]s/a
  metrics: unix://%[1]s/m
store:
  etcd: {endpoints: %[2]s, timeout: %[4]v}
upstream: {url: "http://127.0.0.1:1"}
tokens: {maxPerUser: %[3]d}
`

// replica is a tokengate process on an etcd that others use, too. Tests ask it as Envoy and the command line do.
type replica struct {
	*process
	name   string
	admin  *client
	checks authv3.AuthorizationClient
}

// startReplica starts a replica with a timeout for requests to etcd, and waits until it is ready.
func startReplica(t *testing.T, name string, timeout time.Duration, endpoints ...string) *replica {
	t.Helper()
	dir := envoytest.Dir(t)
	list, err := json.Marshal(endpoints)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "tokengate.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, replicaConfig, dir, list, maxTokens, timeout), 0o600); err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("unix://"+dir+"/g", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	r := &replica{process: start(t, "serve", "--config", config), name: name, admin: newSocketClient(dir + "/a"), checks: authv3.NewAuthorizationClient(conn)}
	r.waitFor(`"tokengate is ready"`)
	return r
}

// check asks whether a request with a token is allowed, and returns the reason.
func (r *replica) check(value token.Value) (reason string, err error) {
	headers := map[string]string{"authorization": bearer(value)}
	answer, err := r.checks.Check(metadata.AppendToOutgoingContext(context.Background(), "x-client-ip", "192.0.2.1"),
		&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
			Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Path: "/rest/api/2/myself", Protocol: "HTTP/1.1", Headers: headers},
		}}})
	if err != nil {
		return "", err
	}
	reason = answer.GetDynamicMetadata().GetFields()["reason"].GetStringValue()
	if allowed := answer.GetOkResponse() != nil; allowed != (reason == "allowed") {
		return "", fmt.Errorf("an answer with the reason %s and the status %v", reason, answer.GetStatus())
	}
	return reason, nil
}

// create creates a token.
func (r *replica) create(user, name string) (token.Value, error) {
	var created struct{ PasswordValue string }
	if err := r.admin.call(context.Background(), http.MethodPost, "", nil, map[string]string{"user": user, "label": name}, &created); err != nil {
		return token.Value{}, err
	}
	return token.Parse(created.PasswordValue)
}

// change changes what no decision depends on.
func (r *replica) change(id, purpose string) error {
	return r.admin.call(context.Background(), http.MethodPatch, id, nil, map[string]string{"purpose": purpose}, nil)
}

// revoke revokes a token, which may be revoked already.
func (r *replica) revoke(id string) error {
	err := r.admin.call(context.Background(), http.MethodDelete, id, nil, nil, nil)
	if err != nil && strings.Contains(err.Error(), "has been revoked, which is final") {
		return nil
	}
	return err
}

// active returns the ids of all active tokens, by their owners, as the replica's memory has them.
func (r *replica) active() (map[string][]string, error) {
	all, query := make(map[string][]string), url.Values{"state": {"active"}, "limit": {"1000"}}
	for {
		var page struct {
			Values []struct{ ID, User string }
			Next   *string
		}
		if err := r.admin.call(context.Background(), http.MethodGet, "tokens", query, nil, &page); err != nil {
			return nil, err
		}
		for _, token := range page.Values {
			all[token.User] = append(all[token.User], token.ID)
		}
		if page.Next == nil {
			return all, nil
		}
		query.Set("after", *page.Next)
	}
}
