package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/store"
)

// storeCommands are the commands
//
//	settings FILE STORE              writes a configuration file with this section store
//	mode MODE FILE                   fails unless the file has this mode
//	cut FILE NEW                     copies a file without its last byte
//	opens FILE NUMBER USER STATE…    fails unless the store of a configuration opens, and holds these tokens of the user
//	audited FILE ACTOR ACTION CHANGE…  fails unless its audit log begins with these records by the actor, newest first
var storeCommands = map[string]func(*testscript.TestScript, bool, []string){
	"settings": func(ts *testscript.TestScript, _ bool, args []string) {
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte("publicURL: https://jira.example.com\nstore: "+args[1]+"\n"), 0o600))
	},
	"mode": func(ts *testscript.TestScript, _ bool, args []string) {
		info, err := os.Stat(ts.MkAbs(args[1]))
		ts.Check(err)
		if mode := fmt.Sprintf("%04o", info.Mode().Perm()); mode != args[0] {
			ts.Fatalf("%s has mode %s", args[1], mode)
		}
	},
	"cut": func(ts *testscript.TestScript, _ bool, args []string) {
		content := ts.ReadFile(args[0])
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(content[:len(content)-1]), 0o600))
	},
	"opens": func(ts *testscript.TestScript, _ bool, args []string) {
		s := openFor(ts, args[0])
		defer s.Close()
		page, err := s.List(context.Background(), args[2], 0, 10)
		ts.Check(err)
		got := []string{strconv.Itoa(len(page.Tokens)), args[2]}
		for _, t := range page.Tokens {
			got = append(got, t.State.String())
		}
		if want := strings.Join(args[1:], " "); strings.Join(got, " ") != want {
			ts.Fatalf("the store has %v, want %s", got, want)
		}
	},
	"audited": func(ts *testscript.TestScript, _ bool, args []string) {
		s := openFor(ts, args[0])
		defer s.Close()
		log, err := s.AuditLog(context.Background(), 0, 1000)
		ts.Check(err)
		for want := args[2:]; len(want) > 0; want = want[2:] {
			field, value, _ := strings.Cut(want[1], "=")
			if a := log[0]; a.Actor != args[1] || a.From != "command line" || a.Action != want[0] || a.Outcome != "done" || a.Changes[field].After != value {
				ts.Fatalf("the audit record is %+v, want %v", a, want[:2])
			}
			log = log[1:]
		}
	},
}

func openFor(ts *testscript.TestScript, file string) store.Store {
	c, err := config.Load(ts.MkAbs(file))
	ts.Check(err)
	opened, err := c.Store.Settings.Open(context.Background(), store.OpenOptions{Existing: true})
	ts.Check(err)
	return opened.Store
}
