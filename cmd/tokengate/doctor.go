package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/seal"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/authz/web"
	"github.com/tokengate/tokengate/cmd/tokengate/app"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
)

// installation is what the checks of tokengate doctor look at.
type installation struct {
	file   string
	has    need
	config config.Config // if has >= aConfiguration
	status web.Status    // if has >= aServer
}

// finding is the result of one check.
type finding struct {
	Check  string `json:"check"`
	Result string `json:"result"` // ok, wrong, or unknown because of another finding
	Found  string `json:"found"`
	Advice string `json:"advice,omitempty"` // what to do if it is wrong
}

func right(format string, args ...any) finding {
	return finding{Result: "ok", Found: fmt.Sprintf(format, args...)}
}

// wrong returns a finding with what to do about it.
func wrong(advice, format string, args ...any) finding {
	return finding{Result: "wrong", Found: fmt.Sprintf(format, args...), Advice: advice}
}

// need is what a check needs from those before it.
type need int

const (
	nothing need = iota
	aConfiguration
	aServer // which implies a configuration
)

// doctorChecks are the checks in order.
var doctorChecks = []struct {
	name  string
	needs need
	pat   bool // only with upstream.identity.pat
	run   func(context.Context, *installation) finding
}{
	{"configuration", nothing, false, checkConfiguration},
	{"data directory", aConfiguration, false, checkDataDirectory},
	{"sealing keys", aConfiguration, true, checkSealKeys},
	{"listen.grpc", aConfiguration, false, checkSocket(app.GroupSocket, func(l config.Listen) config.Address { return l.GRPC.Address })},
	{"listen.http", aConfiguration, false, checkSocket(app.GroupSocket, func(l config.Listen) config.Address { return l.HTTP.Address })},
	{"listen.admin", aConfiguration, false, checkSocket(app.OwnerSocket, func(l config.Listen) config.Address { return l.Admin })},
	{"listen.metrics", aConfiguration, false, checkSocket(app.GroupSocket, func(l config.Listen) config.Address { return l.Metrics.Address })},
	{"server", aConfiguration, false, checkServer},
	{"reload", aServer, false, checkReload},
	{"connections", aServer, true, checkConnections},
	{"Envoy's configuration", aServer, false, checkEnvoy},
}

func newDoctorCommand() *cobra.Command {
	var file, format string
	cmd := &cobra.Command{
		Use:   "doctor --config FILE",
		Short: "Check an installation, and show what is wrong and what to do",
		Long: "Check the configuration, the data directory, the sockets, the running server and\n" +
			"Envoy's configuration, and with upstream.identity.pat the sealing keys and the users'\n" +
			"connections, and show what is wrong and what to do. Run it on the server's machine, as\n" +
			"the server's user or as root. The exit code is 1 if something is wrong.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usagef("doctor needs --config FILE")
			}
			findings, failed := examine(cmd.Context(), file)
			t := table{{"CHECK", "RESULT", "FOUND"}}
			for _, f := range findings {
				lines := strings.Split(f.Found, "\n")
				if f.Advice != "" {
					lines = append(lines, "→ "+f.Advice)
				}
				name, result := f.Check, f.Result
				for _, line := range lines {
					t = append(t, []string{name, result, printable(line)})
					name, result = "", ""
				}
			}
			if err := printAnswer(cmd, format, map[string]any{"checks": findings}, t); err != nil {
				return err
			}
			if failed > 0 {
				return fmt.Errorf("%d of %d checks failed", failed, len(findings))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "the server's configuration `FILE`")
	outputFlag(cmd, &format, "json")
	return cmd
}

// examine runs all checks.
func examine(ctx context.Context, file string) (findings []finding, failed int) {
	s := &installation{file: file}
	for _, check := range doctorChecks {
		if check.pat && !s.config.Upstream.Identity.HasPAT() {
			continue
		}
		f := finding{Result: "unknown", Found: "not checked, because an earlier check failed"}
		if check.needs <= s.has {
			f = check.run(ctx, s)
		}
		if f.Result == "wrong" {
			failed++
		}
		f.Check, f.Found = check.name, token.Redact(f.Found)
		findings = append(findings, f)
	}
	return findings, failed
}

func checkConfiguration(_ context.Context, s *installation) finding {
	c, err := config.Load(s.file)
	if err != nil {
		return wrong("Correct the file, or name the one that the server uses.", "%v", err)
	}
	s.has, s.config = aConfiguration, c
	return right("%s is good", s.file)
}

func checkDataDirectory(_ context.Context, s *installation) finding {
	settings, isBadger := s.config.Store.Settings.(*badger.Config)
	if !isBadger {
		return right("the store %s has none", s.config.Store.Kind)
	}
	info, err := os.Stat(settings.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return wrong("If tokengate has run before, mount the disk; otherwise start tokengate, which makes the directory.",
			"%s does not exist", settings.Dir)
	case err != nil:
		return wrong("Run this command as the server's user or as root.", "%v", err)
	case !info.IsDir():
		return wrong("Move the file away, or correct store.badger.dir.", "%s is not a directory", settings.Dir)
	case info.Mode().Perm()&0o002 != 0:
		return wrong("chmod o-w "+settings.Dir, "%s has mode %04o: every user may replace its files", settings.Dir, info.Mode().Perm())
	}
	return right("%s, mode %04o", settings.Dir, info.Mode().Perm())
}

func checkSealKeys(_ context.Context, s *installation) finding {
	keys, err := seal.ReadKeys(s.config.Upstream.Identity.PAT.SealKeys)
	if err != nil {
		return wrong("Correct the file or upstream.identity.pat.sealKeys, or run this command as the server's user or as root.", "%v", err)
	}
	return right("%s seals (%s); files: %d", keys.Files()[0], keys.Current(), len(keys.Files()))
}

// checkSocket returns a check of a listener, which must have this mode if it is a unix socket.
func checkSocket(mode fs.FileMode, of func(config.Listen) config.Address) func(context.Context, *installation) finding {
	return func(_ context.Context, s *installation) finding {
		a := of(s.config.Listen)
		if a.Network != "unix" {
			return right("%v", a)
		}
		info, err := os.Lstat(a.Address)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return wrong("Start tokengate. If it runs, restart it with this configuration.", "there is no socket at %s", a.Address)
		case err != nil:
			return wrong("Run this command as the server's user or as root.", "%v", err)
		case info.Mode().Type() != fs.ModeSocket:
			return wrong("Move the file away, then restart tokengate.", "%s is not a socket", a.Address)
		case info.Mode().Perm() != mode:
			return wrong("Restart tokengate, which sets the mode.", "%s has mode %04o, not %04o", a.Address, info.Mode().Perm(), mode)
		}
		return right("%s, mode %04o", a.Address, mode)
	}
}

// answerTime is how long doctor waits for the server.
const answerTime = 5 * time.Second

func checkServer(ctx context.Context, s *installation) finding {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	c := newSocketClient(s.config.Listen.Admin.Address)
	if err := c.call(ctx, http.MethodGet, "status", nil, nil, &s.status); err != nil {
		return wrong("If tokengate is not running, start it; its log says why it stopped. If it hangs, restart it.",
			"%s", strings.TrimSuffix(err.Error(), "; "+advice))
	}
	s.has = aServer
	return right("it answers since %s", instant(&s.status.Started, "-"))
}

func checkReload(_ context.Context, s *installation) finding {
	if s.status.Refused != "" {
		return wrong("Correct the file, or restart tokengate if a changed key needs it.",
			"the server refused the changed configuration file, and the previous one stays in force: %s", s.status.Refused)
	}
	return right("the server uses the configuration file")
}

func checkConnections(ctx context.Context, s *installation) finding {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var answer web.UpstreamConnections
	if err := newSocketClient(s.config.Listen.Admin.Address).call(ctx, http.MethodGet, "upstream", nil, nil, &answer); err != nil {
		return wrong("If the configuration file has changed, restart tokengate. Its log says more.", "%v", err)
	}
	active, broken, ending := 0, 0, 0
	soon := time.Now().Add(14 * 24 * time.Hour).UnixMilli()
	for _, c := range answer.Connections {
		switch c.State {
		case store.UpstreamBroken.String():
			broken++
		case store.UpstreamActive.String():
			active++
			if c.ExpiresAt != nil && *c.ExpiresAt <= soon {
				ending++
			}
		}
	}
	found := fmt.Sprintf("%d active, %d broken, %d ending within 14 days", active, broken, ending)
	if broken > 0 {
		return wrong("tokengate upstream list shows whose they are. These users connect again on the page; those of programs with tokengate upstream set.", "%s", found)
	}
	return right("%s", found)
}

func checkEnvoy(_ context.Context, s *installation) finding {
	switch envoy.ConfigurationState(s.status.Envoy) {
	case envoy.ConfigurationCurrent:
		return right("it was generated from the server's settings")
	case envoy.ConfigurationOutdated:
		return wrong("Generate it again with tokengate envoy bootstrap, and restart Envoy.",
			"it is out of date: it was generated from other settings, or by another version. Envoy still decides by them which requests it forwards "+
				"without asking (envoy.bypass), which identity headers it removes and where it finds the client's address")
	}
	return wrong("Start Envoy with the configuration that tokengate envoy bootstrap prints. Envoy asks every second.",
		"no Envoy with a configuration of this version has asked for the server's health within the last minute")
}
