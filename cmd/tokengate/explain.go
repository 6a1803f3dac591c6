package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokengate/tokengate/authz/web"
)

// errRefused makes the exit code 1 for a request that would be denied.
var errRefused = errors.New("the request would be denied")

func newExplainCommand() *cobra.Command {
	var asked web.ExplainRequest
	var format string
	cmd := &cobra.Command{
		Use:   "explain --path PATH --ip ADDRESS [--method METHOD] [--user NAME | --id ID]",
		Short: "Show how a request with a token would be decided, and why",
		Long: "Show how a request with a token would be decided, check by check. The token's value\n" +
			"is read from standard input, so that no list of processes shows it; every byte\n" +
			"counts, except one line feed at the end. With --id nothing is read. No request is\n" +
			"sent, and the token's usage does not change.\n\n" +
			"The exit code is 0 if the request would be allowed, passed on, or answered in\n" +
			"place of Jira, as a token's logout is, and 1 if it would be denied.",
		Example: "  tokengate explain --path /rest/api/2/myself --ip 10.1.2.3 < token.txt\n" +
			"  tokengate explain --path /rest/api/2/issue --method POST --ip 10.1.2.3 --id 4fVq0c1sXbYk",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asked.Path == "" || asked.IP == "" {
				return usagef("explain needs --path and --ip")
			}
			if strings.Contains(asked.Path, "://") && !strings.HasPrefix(asked.Path, "/") {
				return usagef("explain --path takes a path such as /rest/api/2/myself, not a whole URL")
			}
			if asked.TokenID != "" && asked.User != "" {
				return usagef("explain --id assumes a Bearer credential: omit --user")
			}
			var err error
			if asked.TokenID == "" {
				if asked.Token, err = readToken(cmd.InOrStdin(), cmd.ErrOrStderr()); err != nil {
					return err
				}
			}
			answer, err := ask[web.Explanation](cmd, http.MethodPost, "explain", asked)
			if err != nil {
				return err
			}
			checks, decision := explanationTables(answer)
			if err := printAnswer(cmd, format, answer, checks, decision); err != nil {
				return err
			}
			if !slices.Contains([]string{"allowed", "pass_through", "answered"}, answer.Outcome) {
				return errRefused
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&asked.Method, "method", http.MethodGet, "`METHOD` of the request")
	flags.StringVar(&asked.Path, "path", "", "`PATH` and query as Envoy forwards them: // and dot segments merged, escaped letters decoded")
	flags.StringVar(&asked.IP, "ip", "", "the client's `ADDRESS`")
	flags.StringVar(&asked.User, "user", "", "send the token as Basic with this user `NAME`, not as Bearer")
	textFlag(cmd, "header", "`HEADER` of the request that a check reads, such as 'X-Method-Override: PUT'; may be repeated", nil, func(text string) error {
		name, value, ok := strings.Cut(text, ":")
		if !ok {
			return errors.New("it must be a name, a colon and a value")
		}
		if asked.Headers == nil {
			asked.Headers = make(map[string]string)
		}
		asked.Headers[name] = strings.TrimSpace(value)
		return nil
	})
	textFlag(cmd, "id", "a token's `ID` in place of its value", nil, func(text string) error {
		asked.TokenID = text
		return checkID(text)
	})
	outputFlag(cmd, &format, "json")
	addSocketFlag(cmd)
	return cmd
}

// readToken reads the credential from standard input, without one line feed at the end.
func readToken(in io.Reader, hint io.Writer) (string, error) {
	if isTerminal(in) {
		fmt.Fprintln(hint, "Paste the token's value, then Enter and Ctrl-D:")
	}
	text, err := readSecret(in, "explain", "the token's value")
	return strings.TrimSuffix(text, "\n"), err
}

// isTerminal reports whether standard input may be a terminal.
func isTerminal(in io.Reader) bool {
	file, ok := in.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// maxSecret is the longest secret on standard input, in bytes.
const maxSecret = 8 << 10

// readSecret reads what a command needs from standard input.
func readSecret(in io.Reader, command, what string) (string, error) {
	data, err := io.ReadAll(io.LimitReader(in, maxSecret+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("read %s from standard input: %w", what, err)
	case len(bytes.TrimSpace(data)) == 0:
		return "", usagef("%s reads %s from standard input, which is empty", command, what)
	case len(data) > maxSecret:
		return "", usagef("standard input holds more than %s", what)
	}
	return string(data), nil
}

func explanationTables(e web.Explanation) (checks, decision table) {
	checks = table{{"CHECK", "RESULT", "REASON"}}
	for _, r := range e.Checks {
		checks = append(checks, []string{cell(r.Check), cell(r.Result), cell(r.Reason)})
	}
	decision = table{{"decision:", printable(e.Outcome)}, {"reason:", printable(e.Reason)}}
	if e.Detail != "" {
		decision = append(decision, []string{"detail:", printable(e.Detail)})
	}
	if e.Status != 0 {
		decision = append(decision, []string{"answer:", fmt.Sprintf("%d %s", e.Status, printable(e.Text))})
	}
	if e.User != "" {
		decision = append(decision, []string{"user:", cell(e.User)})
	}
	if e.TokenID != "" {
		decision = append(decision, []string{"token:", cell(e.TokenID)})
	}
	return checks, decision
}
