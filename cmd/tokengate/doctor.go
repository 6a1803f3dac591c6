package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokengate/tokengate/cmd/tokengate/doctor"
	"github.com/tokengate/tokengate/envoy"
)

func newDoctorCommand() *cobra.Command {
	var format string
	o := doctor.Options{Ask: askSocket, Now: time.Now, InPod: os.Getenv("KUBERNETES_SERVICE_HOST") != ""}
	cmd := &cobra.Command{
		Use:   "doctor --config FILE",
		Short: "Check an installation, and show what is wrong and what to do",
		Long: "Check the configuration, the store, the sockets, the running server, the configuration\n" +
			"of the running Envoy and the application behind it, and show what is wrong and what to\n" +
			"do. Run it on the server's machine or in its container, as the server's user or as root.\n" +
			"With --jira and without --config it only checks that the application does not answer\n" +
			"from here. The exit code is 1 if there is an error; warnings alone leave it 0.",
		Example: "  tokengate doctor --config /etc/tokengate/tokengate.yaml\n" +
			"  tokengate doctor --jira http://jira.jira.svc:8080  # where nobody should reach it",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.File == "" && len(o.Jira) == 0 {
				return usagef("doctor needs --config FILE")
			}
			o.EnvoyKnown = cmd.Flags().Changed("envoy-admin")
			return printFindings(cmd, format, doctor.Run(cmd.Context(), o))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.File, "config", "", "the server's configuration `FILE`")
	flags.StringVar(&o.EnvoyAdmin, "envoy-admin", envoy.DefaultAdminSocket, "`PATH` of Envoy's own administration socket")
	textFlag(cmd, "jira", "`URL` of the application that must not answer from here; may be repeated", nil, func(text string) error {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
			return errors.New("it must be a URL such as http://10.0.0.7:8080")
		}
		o.Jira = append(o.Jira, u.Scheme+"://"+u.Host)
		return nil
	})
	flags.StringVar(&o.User, "user", "", "`NAME` of a user, to try as whom the application sees a request (default an owner of a token)")
	outputFlag(cmd, &format, "json")
	return cmd
}

// printFindings prints findings, and returns an error if one is an error.
func printFindings(cmd *cobra.Command, format string, findings []doctor.Finding) error {
	t, failed := table{{"CHECK", "RESULT", "FOUND"}}, 0
	for i, f := range findings {
		if f.Verdict == doctor.Skipped && i > 0 && f.Found == findings[i-1].Found {
			continue // see more
		}
		lines := strings.Split(f.Found, "\n")
		if f.Do != "" {
			lines = append(lines, "→ "+f.Do, "  "+f.Link)
		}
		if f.Verdict == doctor.Error {
			failed++
		}
		id, verdict := f.ID+more(findings[i:]), string(f.Verdict)
		for _, line := range lines {
			t = append(t, []string{id, verdict, printable(line)})
			id, verdict = "", ""
		}
	}
	if err := printAnswer(cmd, format, map[string]any{"checks": findings}, t); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, len(findings))
	}
	return nil
}

// more returns how many checks after the first were skipped for the same reason.
func more(findings []doctor.Finding) string {
	n := 0
	for _, f := range findings[1:] {
		if findings[0].Verdict != doctor.Skipped || f.Verdict != doctor.Skipped || f.Found != findings[0].Found {
			break
		}
		n++
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more", n)
}

// askSocket sends GET to a path of the API at an admin socket, and decodes the answer.
func askSocket(ctx context.Context, socket, path string, query url.Values, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := newSocketClient(socket).call(ctx, http.MethodGet, path, query, nil, answer)
	if err != nil {
		return errors.New(strings.TrimSuffix(err.Error(), "; "+advice))
	}
	return nil
}
