package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/envoy/envoytest"
	"github.com/tokengate/tokengate/store/etcd/etcdtest"
)

// TestScripts runs the scripts in testdata/script. Their commands use one running
// server, which is the default. No two scripts use the same users. At CONNECTED is the admin
// socket of a server with upstream.identity.pat, and at ETCD an etcd.
func TestScripts(t *testing.T) {
	dir := envoytest.Dir(t)
	file := filepath.Join(dir, "tokengate.yaml")
	settings := strings.ReplaceAll(`
publicURL: https://jira.example.com
listen: {grpc: "unix://DIR/g", http: "unix://DIR/h", admin: "unix://DIR/a", metrics: "unix://DIR/m"}
store: {badger: {dir: DIR/data}}
tokens: {maxPerUser: 4}
`, "DIR", dir)
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	server := start(t, "serve", "--config", file)
	server.waitFor(`"tokengate is ready"`)
	t.Setenv(socketVariable, dir+"/a")
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	connected := startConnected(t)
	commands := map[string]func(*testscript.TestScript, bool, []string){
		"tokengate": scriptCommand(t, true),
		"process":   scriptCommand(t, false),
		"id":        scriptID,
		"number":    scriptNumber,
		"networks":  scriptNetworks(t),
		"parse":     scriptParse,
	}
	maps.Copy(commands, connected.scriptCommands(t))
	maps.Copy(commands, storeCommands)
	etcd := etcdtest.Start(t, etcdtest.Options{}).Endpoints()[0]
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PROGRAM", program)
			env.Setenv(socketVariable, dir+"/a")
			env.Setenv("DIR", dir)
			env.Setenv("CONNECTED", connected.dir+"/a")
			env.Setenv("FILE", connected.file())
			env.Setenv("KEYS", connected.dir+"/key")
			env.Setenv("ME", "uid:"+strconv.Itoa(os.Geteuid()))
			env.Setenv("ETCD", etcd)
			env.Setenv("ESC", "\x1b")
			env.Setenv("RTL", "\u202e")
			env.Setenv("WIDE", "\u3000")
			return nil
		},
		Cmds: commands,
	})
}

// scriptCommand runs
//
//	tokengate CODE ARGUMENT… [< FILE]
//
// in this process, which is fast, and
//
//	process CODE ARGUMENT… [< FILE]
//
// in a separate process, which gets the script's environment. Both fail unless the
// exit code is CODE. Standard output and error go to the files out and err. Only the
// output of token create and token rotate may contain a token's value.
func scriptCommand(t *testing.T, inProcess bool) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 2 {
			ts.Fatalf("usage: tokengate CODE ARGUMENT... [< FILE]")
		}
		want, args := args[0], args[1:]
		var in []byte
		if n := len(args); n > 2 && args[n-2] == "<" {
			in = []byte(ts.ReadFile(args[n-1]))
			args = args[:n-2]
		}
		var out, errs bytes.Buffer
		var code int
		if inProcess {
			code = run(context.Background(), args, bytes.NewReader(in), &out, &errs)
		} else {
			cmd := exec.Command(ts.Getenv("PROGRAM"), args...)
			cmd.Dir = ts.MkAbs(".")
			cmd.Env = programEnv(socketVariable + "=" + ts.Getenv(socketVariable))
			cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &errs
			err := cmd.Run()
			if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
				ts.Fatalf("run tokengate: %v", err)
			}
			code = cmd.ProcessState.ExitCode()
		}
		for name, text := range map[string][]byte{"out": out.Bytes(), "err": errs.Bytes()} {
			ts.Check(os.WriteFile(ts.MkAbs(name), text, 0o600))
		}
		checkOutput(t, args, out.String(), errs.String())
		if strings.ContainsAny(out.String()+errs.String(), "\x1b\u202e\u3000") {
			ts.Fatalf("the output holds control characters")
		}
		if got := strconv.Itoa(code); got != want {
			ts.Fatalf("exit code %s, want %s; standard error: %s", got, want, errs.String())
		}
	}
}

// scriptID runs
//
//	id NAME
//
// and sets the environment variable NAME to the id of the token whose value is in
// the file out.
func scriptID(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: id NAME")
	}
	value, err := token.Parse(strings.TrimSuffix(ts.ReadFile("out"), "\n"))
	if err != nil {
		ts.Fatalf("standard output is no token's value alone: %v", err)
	}
	ts.Setenv(args[0], value.ID().String())
}

// scriptNumber runs
//
//	number NAME
//
// and sets the environment variable NAME to the number that token show wrote to the
// file out, as text or JSON.
func scriptNumber(ts *testscript.TestScript, neg bool, args []string) {
	m := regexp.MustCompile(`(?m)^(?:number: +| *"number": )(\d+),?$`).FindStringSubmatch(ts.ReadFile("out"))
	if neg || len(args) != 1 || m == nil {
		ts.Fatalf("usage: number NAME, with a number in the file out")
	}
	ts.Setenv(args[0], m[1])
}

// scriptParse runs
//
//	parse json FILE
//	parse csv FILE COUNT
//
// and fails unless the file is one JSON value, or a header of CSV and so many
// records as long as it.
func scriptParse(ts *testscript.TestScript, neg bool, args []string) {
	switch {
	case !neg && len(args) == 2 && args[0] == "json":
		if !json.Valid([]byte(ts.ReadFile(args[1]))) {
			ts.Fatalf("%s is no JSON", args[1])
		}
	case !neg && len(args) == 3 && args[0] == "csv":
		records, err := csv.NewReader(strings.NewReader(ts.ReadFile(args[1]))).ReadAll()
		ts.Check(err)
		if got := strconv.Itoa(len(records) - 1); got != args[2] {
			ts.Fatalf("%s records behind the header, want %s", got, args[2])
		}
	default:
		ts.Fatalf("usage: parse json FILE | parse csv FILE COUNT")
	}
}

// scriptNetworks runs
//
//	networks CODE COUNT ARGUMENT…
//
// which is tokengate with so many --ip flags behind the arguments.
func scriptNetworks(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		count, err := strconv.Atoi(args[1])
		ts.Check(err)
		command := append([]string{args[0]}, args[2:]...)
		for i := range count {
			command = append(command, "--ip", fmt.Sprintf("10.%d.%d.0/24", i/256, i%256))
		}
		scriptCommand(t, true)(ts, neg, command)
	}
}
