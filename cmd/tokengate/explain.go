package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokengate/tokengate/authz/manage/web"
)

// errRefused is the end of an explanation: the answer, not a failure.
var errRefused = errors.New("the request would be refused")

func newExplainCommand() *cobra.Command {
	var asked web.ExplainRequest
	cmd := &cobra.Command{
		Use:   "explain --path PATH --ip ADDRESS [--method METHOD] [--user NAME]",
		Short: "Say how a request with a token would be decided, and why",
		Long: "Say how a request with a token would be decided, rule by rule. The token's value\n" +
			"is read from standard input, so that no list of processes shows it. Nothing\n" +
			"comes of the request, and the token's use is not counted.\n\n" +
			"The exit code is 0 if the request would be allowed or passed on, and 1 if it\n" +
			"would be refused.",
		Example: "  tokengate explain --path /rest/api/2/myself --ip 10.1.2.3 < token.txt",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asked.Path == "" || asked.IP == "" {
				return usagef("explain needs --path and --ip")
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			if asked.Token, err = readToken(cmd.InOrStdin(), cmd.ErrOrStderr()); err != nil {
				return err
			}
			var answer web.Explanation
			if err := c.call(cmd.Context(), http.MethodPost, "explain", nil, asked, &answer); err != nil {
				return err
			}
			return printExplanation(cmd.OutOrStdout(), answer)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&asked.Method, "method", http.MethodGet, "`METHOD` of the request")
	flags.StringVar(&asked.Path, "path", "", "`PATH` of the request as it is sent, with its query")
	flags.StringVar(&asked.IP, "ip", "", "the client's `ADDRESS`")
	flags.StringVar(&asked.User, "user", "", "send the token as Basic with this user `NAME`, not as Bearer")
	addSocketFlag(cmd)
	return cmd
}

// maxToken bounds what is read as a token, in bytes.
const maxToken = 8 << 10

// readToken reads the one line on standard input.
func readToken(in io.Reader, hint io.Writer) (string, error) {
	if file, ok := in.(*os.File); ok {
		if info, err := file.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			fmt.Fprintln(hint, "Paste the token's value, then Enter and Ctrl-D:")
		}
	}
	data, err := io.ReadAll(io.LimitReader(in, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("read the token from standard input: %w", err)
	}
	value := strings.TrimSpace(string(data))
	switch {
	case value == "":
		return "", usagef("explain reads the token's value from standard input, where nothing came")
	case len(data) > maxToken:
		return "", usagef("standard input holds more than a token's value")
	}
	return value, nil
}

// printExplanation prints the verdicts and the decision. It returns errRefused
// for a refusal.
func printExplanation(out io.Writer, e web.Explanation) error {
	t := table{{"RULE", "RESULT", "REASON"}}
	for _, r := range e.Rules {
		t = append(t, []string{cell(r.Rule), cell(r.Result), cell(r.Reason)})
	}
	decision := table{{"decision:", printable(e.Outcome)}, {"reason:", printable(e.Reason)}}
	if e.Status != 0 {
		decision = append(decision, []string{"answer:", fmt.Sprintf("%d %s", e.Status, printable(e.Text))})
	}
	if e.User != "" {
		decision = append(decision, []string{"user:", cell(e.User)})
	}
	if e.TokenID != "" {
		decision = append(decision, []string{"token:", cell(e.TokenID)})
	}
	if err := errors.Join(t.print(out), newLine(out), decision.print(out)); err != nil {
		return err
	}
	if e.Outcome != "allowed" && e.Outcome != "passed" {
		return errRefused
	}
	return nil
}
