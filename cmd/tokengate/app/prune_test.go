package app

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/badger"
)

// The log says how many audit records were removed because of their age, and warns about
// records removed because the audit log was too large.
func TestPruneIsLogged(t *testing.T) {
	settings := config.Default()
	settings.Store.Settings = &badger.Config{Dir: t.TempDir()}
	settings.Audit.MaxMiB = 1
	var log bytes.Buffer
	s := newServer("", settings, Options{Log: &log})
	if err := s.openStore(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	values := manage.NewSettings(settings)
	s.settings.Store(&values)
	s.manager = &manage.Manager{Tokens: s.tokens, Usage: s.usage, Settings: func() manage.Settings { return *s.settings.Load() }, Now: time.Now}
	large := store.Audit{Time: time.Now().AddDate(-3, 0, 0), Action: "token.change", Changes: map[string]store.Change{}}
	for n := range 7 {
		large.Changes[strconv.Itoa(n)] = store.Change{After: strings.Repeat("x", 1000)}
	}
	for n := range 203 {
		if n == 3 {
			large.Time = time.Now()
		}
		if err := s.tokens.AppendAudit(t.Context(), large); err != nil {
			t.Fatal(err)
		}
	}
	s.prune(t.Context())
	s.prune(t.Context()) // finds nothing, and says nothing
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{
		`"msg":"removed audit records that are too old (audit.retention)","records":3}`,
		`"msg":"removed the oldest audit records early, because the audit log is too large (audit.maxMiB)","records":`,
	} {
		if n := strings.Count(log.String(), want); n != 1 {
			t.Errorf("the log has %d times %q:\n%s", n, want, log.String())
		}
	}
}
