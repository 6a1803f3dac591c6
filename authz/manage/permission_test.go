package manage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/store"
)

// operations calls every method of a Manager, by reflection, with arguments that
// succeed for an administrator, so that new operations are tested automatically.
func operations(t *testing.T, f *fixture, id string, c manage.Caller) map[string]error {
	t.Helper()
	results := make(map[string]error)
	manager := reflect.ValueOf(f.Manager)
	for i := range manager.NumMethod() {
		name := manager.Type().Method(i).Name
		if slices.Contains(maintenanceMethods, name) {
			continue
		}
		method := manager.Method(i)
		args := make([]reflect.Value, method.Type().NumIn())
		for j := range args {
			switch in := method.Type().In(j); in {
			case reflect.TypeFor[context.Context]():
				args[j] = reflect.ValueOf(t.Context())
			case reflect.TypeFor[manage.Caller]():
				args[j] = reflect.ValueOf(c)
			case reflect.TypeFor[string]():
				args[j] = reflect.ValueOf(id)
			case reflect.TypeFor[manage.NewToken]():
				args[j] = reflect.ValueOf(manage.NewToken{Owner: "fred", Name: "by reflection"})
			case reflect.TypeFor[*authz.Request]():
				args[j] = reflect.ValueOf(&authz.Request{})
			case reflect.TypeFor[io.Writer]():
				args[j] = reflect.ValueOf(io.Discard)
			case reflect.TypeFor[func(string, []manage.Token) error]():
				args[j] = reflect.ValueOf(func(string, []manage.Token) error { return nil })
			default:
				args[j] = reflect.Zero(in)
			}
		}
		returned := method.Call(args)
		last := len(returned) - 1
		err, isError := returned[last].Interface().(error)
		if !isError && !returned[last].IsNil() {
			t.Fatalf("%s returns no error last", name)
		}
		for _, r := range returned[:last] {
			if err != nil && !r.IsZero() {
				t.Errorf("%s was refused and returned %v", name, r.Type())
			}
		}
		results[name] = err
	}
	return results
}

// maintenanceMethods are the methods without a caller.
var maintenanceMethods = []string{"DisableExposedTokens", "Prune", "PruneAudit", "SyncOwners", "UpdateOwnerStatus"}

// Every operation refuses unauthenticated callers, and records it.
func TestUnauthenticated(t *testing.T) {
	for name, c := range map[string]manage.Caller{
		"the zero caller":       {},
		"a deactivated user":    manage.User(directory.User{Name: "fred", Groups: directory.Groups{Known: true}}, "192.0.2.7"),
		"an ordinary token":     manage.ManagementToken(store.Token{ID: "0123456789ab", State: store.Active}, "192.0.2.7"),
		"a user without a name": manage.User(directory.User{Active: true}, "192.0.2.7"),
		"no token":              manage.ManagementToken(store.Token{Kind: store.Management}, "192.0.2.7"),
	} {
		f := newFixture(t)
		issued := f.create(t, manage.NewToken{Owner: "fred", Name: "ci"})
		before := f.audit(t)
		results := operations(t, f, issued.Token.ID, c)
		if len(results) < 15 {
			t.Fatalf("only %d operations were found", len(results))
		}
		for operation, err := range results {
			if !errors.Is(err, manage.ErrForbidden) {
				t.Errorf("%s by %s: %v", operation, name, err)
			}
		}
		refusals := f.audit(t)[len(before):]
		if len(refusals) != len(results) {
			t.Errorf("%d refusals left %d audit records", len(results), len(refusals))
		}
		for _, a := range refusals {
			if a.Outcome != "refused" || a.Reason != "forbidden" || a.Actor != "unknown" || a.Action == "" {
				t.Errorf("audit record %+v for %s", a, name)
			}
		}
		f.decides(t, issued.Value, authz.TokenAllowed)
		if n := f.count(t); n != 1 {
			t.Errorf("after refusals there are %d tokens", n)
		}
	}
}

// Every change leaves exactly one record, reads leave none.
func TestEveryChangeIsRecordedOnce(t *testing.T) {
	f := newFixture(t)
	issued := f.create(t, manage.NewToken{Owner: "fred", Name: "ci"})
	before := len(f.audit(t))
	want := map[string]*manage.Error{ // in the order of their names, on one token
		"Approve": manage.ErrForbidden, // of the own making
		"Own":     manage.ErrForbidden, // an operator has none
		"ListOwn": manage.ErrForbidden, // likewise
		"Rotate":  manage.ErrRevoked,   // called behind Revoke

		"RevokeAll": manage.ErrNotFound, // no user has the id as a name

		// TestUpstream has upstream credentials.
		"ListUpstream": manage.ErrState, "SetUpstream": manage.ErrState, "CheckUpstream": manage.ErrState,
		"DisconnectUpstream": manage.ErrState, "RotateSeal": manage.ErrState, "PurgeUpstream": manage.ErrState,
		"Connection": manage.ErrForbidden, "Connect": manage.ErrForbidden, "Disconnect": manage.ErrForbidden, // an operator has none
	}
	for name, err := range operations(t, f, issued.Token.ID, root) {
		if want[name] == nil && err != nil || want[name] != nil && !errors.Is(err, want[name]) {
			t.Errorf("%s: %v, want %v", name, err, want[name])
		}
	}
	got := make(map[string]int)
	for _, a := range f.audit(t)[before:] {
		got[a.Action+" "+a.Outcome]++
	}
	records := map[string]int{
		"token.create done": 1, "token.change done": 1, "token.disable done": 1, "token.enable done": 1, "token.revoke done": 1, "token.revoke refused": 1,
		"token.approve refused": 1, "token.rotate refused": 1, "token.own refused": 2,
		"upstream.set refused": 1, "upstream.check refused": 1, "upstream.disconnect refused": 2, "seal.rotate refused": 1, "upstream.purge refused": 1,
		"connection refused": 1, "upstream.connect refused": 1, "store.backup done": 1,
	}
	if diff := cmp.Diff(records, got); diff != "" {
		t.Errorf("audit records (-want +got):\n%s", diff)
	}
}

// brokenLog is a store whose audit log fails to record refusals.
type brokenLog struct{ store.Store }

var errDisk = errors.New("no space left on device")

func (brokenLog) AppendAudit(context.Context, store.Audit) error { return errDisk }

// A change and its record are written together, and a refusal that cannot be
// recorded is a failure.
func TestAuditLogFails(t *testing.T) {
	f := newFixtureOf(t, "", directory.None{}, func(s store.Store) store.Store { return brokenLog{s} })
	issued := f.create(t, manage.NewToken{Owner: "fred", Name: "ci"})
	f.rotate(t, issued.Token.ID, manage.Rotation{})
	if err := f.Revoke(t.Context(), root, issued.Token.ID); err != nil {
		t.Fatal(err)
	}
	if n := len(f.audit(t)); n != 3 {
		t.Errorf("three changes left %d audit records", n)
	}
	_, err := f.Create(t.Context(), manage.Caller{}, manage.NewToken{Owner: "fred", Name: "ci"})
	if !errors.Is(err, errDisk) {
		t.Errorf("got %v, want the disk's error", err)
	}
	if _, isRefusal := errors.AsType[*manage.Error](err); isRefusal {
		t.Errorf("%v passes for a refusal that was recorded", err)
	}
	if n := f.count(t); n != 1 {
		t.Errorf("the store has %d tokens", n)
	}
}

// A caller who disconnects leaves no change, but a recorded refusal.
func TestCallerDisconnects(t *testing.T) {
	f := newFixture(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Create(gone, root, manage.NewToken{Owner: "fred", Name: "ci"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if n := len(f.audit(t)) + f.count(t); n != 0 {
		t.Errorf("%d records came of it", n)
	}
	_, err := f.Create(gone, manage.Caller{}, manage.NewToken{Owner: "fred", Name: "ci"})
	is(t, err, manage.ErrForbidden, "")
	if n := len(f.audit(t)); n != 1 {
		t.Errorf("the refusal left %d audit records", n)
	}
}

// Only Issued.Value holds a secret, and it prints without it.
func TestSecretsAreNotExposed(t *testing.T) {
	f := newFixture(t)
	first := f.create(t, manage.NewToken{Owner: "fred", Name: "ci"})
	second := f.rotate(t, first.Token.ID, manage.Rotation{Overlap: 60e9})
	record, err := f.tokens.Get(t.Context(), first.Token.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		text := fmt.Sprintf(format, []any{second, second.Token, f.audit(t)})
		if token.Redact(text) != text {
			t.Errorf("%s shows a value", format)
		}
		for _, secret := range [][]byte{
			record.Secret.Salt[:], record.Secret.Hash[:], record.Previous.Secret.Salt[:], record.Previous.Secret.Hash[:],
		} {
			for _, form := range []string{"%x", "%v", "%s", "%#v"} {
				if strings.Contains(text, strings.Trim(fmt.Sprintf(form, secret), "[]")) {
					t.Errorf("%s shows a salt or a hash as %s", format, form)
				}
			}
		}
	}
	for _, shown := range []reflect.Type{
		reflect.TypeFor[manage.Token](), reflect.TypeFor[manage.Page](), reflect.TypeFor[store.Audit](), reflect.TypeFor[upstream.Connection](),
	} {
		if reach(shown, map[reflect.Type]bool{}) {
			t.Errorf("%v can hold a secret", shown)
		}
	}
	if !reach(reflect.TypeFor[store.UpstreamCredential](), map[reflect.Type]bool{}) ||
		!reach(reflect.TypeFor[store.Token](), map[reflect.Type]bool{}) || !reach(reflect.TypeFor[manage.Issued](), map[reflect.Type]bool{}) {
		t.Error("the search finds no secrets where there are some")
	}
}

// reach reports whether a value of type t can hold a secret.
func reach(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t {
	case reflect.TypeFor[store.Secret](), reflect.TypeFor[token.Value](), reflect.TypeFor[[16]byte](), reflect.TypeFor[[32]byte](), reflect.TypeFor[[]byte]():
		return true
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return reach(t.Elem(), seen)
	case reflect.Map:
		return reach(t.Key(), seen) || reach(t.Elem(), seen)
	case reflect.Interface:
		return true
	case reflect.Struct:
		if t.PkgPath() != reflect.TypeFor[manage.Token]().PkgPath() && t.PkgPath() != reflect.TypeFor[store.Token]().PkgPath() &&
			t.PkgPath() != reflect.TypeFor[upstream.Connection]().PkgPath() {
			return false // such as time.Time
		}
		for i := range t.NumField() {
			if reach(t.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}

// Only operators get a backup, which holds all hashes.
func TestBackupForOperators(t *testing.T) {
	c := newCompany(t)
	_, bot := c.management(t, "ada", manage.NewToken{})
	for name, caller := range map[string]manage.Caller{"an administrator": c.as(t, "ada"), "a management token": bot} {
		var got bytes.Buffer
		if err := c.Backup(t.Context(), caller, &got); !errors.Is(err, manage.ErrForbidden) || got.Len() > 0 {
			t.Errorf("%s got %d bytes, error %v", name, got.Len(), err)
		}
		if a := c.audit(t); a[len(a)-1].Action != "store.backup" || a[len(a)-1].Outcome != "refused" {
			t.Errorf("the audit log ends with %+v", a[len(a)-1])
		}
	}
	var got bytes.Buffer
	if err := c.Backup(t.Context(), root, &got); err != nil || got.Len() == 0 {
		t.Errorf("an operator got %d bytes, error %v", got.Len(), err)
	}
}
