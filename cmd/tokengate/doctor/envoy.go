package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tokengate/tokengate/cmd/tokengate/app"
	"github.com/tokengate/tokengate/envoy"
	"github.com/tokengate/tokengate/envoy/running"
)

// generate is what to do about most findings in Envoy's configuration.
const generate = "Generate Envoy's configuration again with tokengate envoy bootstrap, without the change that this finding names, and restart Envoy."

// envoyChecks look at the running Envoy.
var envoyChecks = joined([]Check{
	{ID: "envoy-asks", Title: "an Envoy asks the server", needs: aServer,
		Do:  "Start Envoy with the configuration that tokengate envoy bootstrap prints. Envoy asks every second.",
		run: checkEnvoyAsks},
	{ID: "envoy-admin", Title: "only Envoy's user can administer Envoy", needs: aConfiguration,
		Do:  "Start Envoy, or name its socket with --envoy-admin. The socket has mode 0600 in a directory that only its user can change. Run this command as Envoy's user or as root.",
		run: checkEnvoyAdmin},
	{ID: "envoy-version", Title: "Envoy has a version that tokengate was tried with", needs: anEnvoy,
		Do:  "Run Envoy " + testedVersion + " or a later one.",
		run: checkEnvoyVersion},
	{ID: "envoy-log-level", Title: "Envoy does not log whole requests", needs: anEnvoy,
		Do:  "Start Envoy with --log-level info.",
		run: checkEnvoyLogLevel},
	{ID: "envoy-outdated", Title: "Envoy's configuration is that of this file", needs: aConfiguration,
		Do:  "Generate Envoy's configuration again with tokengate envoy bootstrap, and restart Envoy.",
		run: checkEnvoyOutdated},
	{ID: "envoy-upstream", Title: "Envoy forwards to upstream.url", needs: anEnvoy, Do: generate,
		run: func(_ context.Context, s *site) result {
			if s.comparison.Upstream != "" {
				return wrong("%s", s.comparison.Upstream)
			}
			return right("Envoy forwards to %s", s.config.Upstream.URL)
		}},
}, comparisons())

// testedVersion is the Envoy that the tests run.
const testedVersion = "1.40"

// comparisons returns the checks of package running.
func comparisons() (checks []Check) {
	for _, c := range running.Checks {
		checks = append(checks, Check{ID: c.ID, Title: c.Title, Do: generate, needs: anEnvoy, run: func(_ context.Context, s *site) result {
			switch problem := s.comparison.Problems[c.ID]; {
			case s.comparison.Outdated:
				return skipped("Envoy's configuration is outdated; see envoy-outdated")
			case problem != "" && c.Warning:
				return warning("%s", problem)
			case problem != "":
				return wrong("%s", problem)
			}
			return right("%s", c.Title)
		}})
	}
	return checks
}

func checkEnvoyAsks(_ context.Context, s *site) result {
	if envoy.ConfigurationState(s.status.Envoy) == envoy.ConfigurationUnknown {
		return wrong("no Envoy with a configuration of this version has asked for the server's health within the last minute")
	}
	return right("Envoy asked within the last minute")
}

func checkEnvoyAdmin(ctx context.Context, s *site) result {
	absent := func(format string, args ...any) result {
		s.missing[anEnvoy] = "Envoy's configuration could not be read; see envoy-admin"
		return wrong(format, args...)
	}
	_, err := os.Stat(s.EnvoyAdmin)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !s.EnvoyKnown:
		s.missing[anEnvoy] = "there is no socket of Envoy's administration at " + s.EnvoyAdmin + "; name it with --envoy-admin"
		return skipped("%s", s.missing[anEnvoy])
	case err != nil:
		return absent("%v", err)
	}
	if s.envoy, err = running.Read(ctx, s.EnvoyAdmin); err != nil {
		return absent("%v", err)
	}
	options := envoy.BootstrapOptions{Host: running.AnyHost} // that of --tokengate-host is not in the file
	generated, err := running.Generated(s.config, options)
	if err == nil {
		s.comparison, err = running.Compare(generated, s.envoy)
	}
	if err != nil {
		return absent("compare Envoy's configuration: %v", err)
	}
	delete(s.missing, anEnvoy)
	dir := filepath.Dir(s.EnvoyAdmin)
	if info, err := os.Stat(dir); err == nil && writableByAll(info) && !s.InPod { // Kubernetes makes volumes so
		return wrong("%s has mode %04o: every user may put a socket of its own there", dir, info.Mode().Perm())
	}
	return checkSocket(s.EnvoyAdmin, app.OwnerSocket)
}

func checkEnvoyVersion(_ context.Context, s *site) result {
	major, minor, _ := strings.Cut(s.envoy.Version, ".")
	minor, _, _ = strings.Cut(minor, ".")
	if wantMajor, wantMinor, _ := strings.Cut(testedVersion, "."); major != wantMajor || len(minor) < len(wantMinor) || minor < wantMinor {
		return warning("Envoy is %s; the configuration is made for %s", s.envoy.Version, testedVersion)
	}
	return right("Envoy %s", s.envoy.Version)
}

func checkEnvoyLogLevel(_ context.Context, s *site) result {
	if level := s.envoy.LogLevel; level == "debug" || level == "trace" {
		return wrong("Envoy was started with --log-level %s, and logs requests with their credentials", level)
	}
	return right("it was started with %s", s.envoy.LogLevel)
}

func checkEnvoyOutdated(_ context.Context, s *site) result {
	outdated := "it was generated from other settings, or by another version. Envoy still decides by them which requests it forwards " +
		"without asking (envoy.bypass), which identity headers it removes and where it finds the client's address"
	switch {
	case s.missing[anEnvoy] == "" && s.comparison.Outdated:
		return wrong("%s", outdated)
	case s.missing[anEnvoy] == "" && s.comparison.Fingerprint:
		return right("it was generated from this file, by this version")
	case s.missing[aServer] != "":
		return skipped("%s", s.missing[aServer])
	}
	switch envoy.ConfigurationState(s.status.Envoy) {
	case envoy.ConfigurationOutdated:
		return wrong("%s", outdated)
	case envoy.ConfigurationCurrent:
		return right("it was generated from the server's settings")
	}
	return skipped("no Envoy asks; see envoy-asks")
}
