package jira_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/product/jira"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
)

// All changes of users and groups, with the fake Jira below a context path.
func TestUserChanges(t *testing.T) {
	for name, change := range map[string]func(*jiratest.Options){
		"Jira 8":  func(*jiratest.Options) {},
		"Jira 9":  func(o *jiratest.Options) { o.SearchWindow = 1000 },
		"Jira 10": func(o *jiratest.Options) { o.SearchWindow, o.MaxSearch = 100, 100 },
	} {
		t.Run(name, func(t *testing.T) { in(t, func(t *testing.T) { comeAndGo(t, change) }) })
	}
}

func comeAndGo(t *testing.T, change func(*jiratest.Options)) {
	o := jiratest.Options{ContextPath: "/jira", Users: []jiratest.User{
		{Name: "service", Active: true, PATs: []string{nativeToken}, Groups: []string{jiratest.Administrators}},
		{Name: "fred", Key: "K1", Active: true},
	}}
	for i := range 130 {
		o.Users = append(o.Users, jiratest.User{Name: fmt.Sprintf("user%03d", i), Active: true, Groups: []string{"Staff"}})
	}
	change(&o)
	server := jiratest.New(o)
	c, err := jira.Product.Connect("http://jira.test/jira", jiratest.Transport{Handler: server})
	if err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/credential"
	write(t, file, nativeToken)
	owners := []directory.Owner{{Name: "fred", Key: "K1"}, {Name: "user007"}, {Name: "user008", Key: "user008"}}
	for i := 10; i < 50; i++ {
		owners = append(owners, directory.Owner{Name: fmt.Sprintf("user%03d", i)})
	}
	groups := []string{"staff"}
	d := directory.New(directory.Options{
		Source: c.Source(product.SourceOptions{Credential: file, Groups: func() []string { return groups }, Now: time.Now}),
		Owners: func() []directory.Owner { return owners }, Publish: func(*directory.Snapshot) {},
		Every: every, StaleAfter: staleAfter, Now: time.Now,
	})
	expect := func(what string, wants map[directory.Owner]error) {
		t.Helper()
		if err := d.Refresh(t.Context()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for o, want := range wants {
			if u, err := d.Snapshot().Owner(o.Name, o.Key, time.Now()); !errors.Is(err, want) {
				t.Errorf("%s: %s is %+v, %v; want %v", what, o.Name, u, err, want)
			}
		}
		time.Sleep(every)
	}
	inGroup := func(name string) bool {
		u, _ := d.Snapshot().ByName(name)
		is, _ := d.Snapshot().Member(u, "STAFF")
		return is
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	fred := owners[0]

	expect("at the start", map[directory.Owner]error{fred: nil, owners[1]: nil, owners[2]: nil})
	if !inGroup("user129") || inGroup("fred") {
		t.Error("members at the start")
	}

	must(server.SetGroups("fred", "staff"))
	must(server.SetGroups("user000"))
	must(server.Deactivate("user007"))
	must(server.Rename("user008", "user999"))
	expect("after changes", map[directory.Owner]error{fred: nil, owners[1]: directory.ErrInactive, owners[2]: nil})
	if !inGroup("fred") || inGroup("user000") || !inGroup("user129") {
		t.Error("members after changes")
	}
	if u, _ := d.Snapshot().ByKey("user008"); u.Name != "user999" {
		t.Errorf("renamed: %+v", u)
	}

	must(server.Activate("user007"))
	must(server.Delete("fred"))
	server.Put(jiratest.User{Name: "Fred", Key: "K2", Active: true, Groups: []string{"staff"}})
	expect("after a name was reused", map[directory.Owner]error{
		fred: directory.ErrUnknownUser, {Name: "fred", Key: "K2"}: nil, owners[1]: nil,
	})

	groups = nil
	expect("without groups", map[directory.Owner]error{fred: directory.ErrUnknownUser, owners[1]: nil, owners[3]: nil, owners[42]: nil})
	server.Omit("groups.items", "deleted", "displayName")
	server.Put(jiratest.User{Name: "dino", Active: true, Groups: []string{"staff"}})
	if u, err := d.Lookup(t.Context(), "dino"); err != nil || u.Groups.Known {
		t.Errorf("lookup: %+v, %v; want no groups known", u, err)
	}
}
