package main

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/authz/web"
)

// textFlag adds a flag that is parsed immediately, so that an error in it is a usage
// error. The shell completes it with words, if given.
func textFlag(cmd *cobra.Command, name, usage string, words []string, read func(string) error) {
	cmd.Flags().Func(name, usage, read)
	complete := cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc(name, complete); err != nil {
		panic(err) // the flag was added above
	}
}

// wordFlag adds a flag that takes one of the words.
func wordFlag(cmd *cobra.Command, name, usage string, words []string, set func(string)) {
	listed := strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
	textFlag(cmd, name, usage+": "+listed, words, func(text string) error {
		if !slices.Contains(words, text) {
			return fmt.Errorf("it must be %s", listed)
		}
		set(text)
		return nil
	})
}

// outputFlag adds --output for text and the given formats.
func outputFlag(cmd *cobra.Command, format *string, formats ...string) {
	*format = "text"
	wordFlag(cmd, "output", "`FORMAT` of the output (default text)", append([]string{"text"}, formats...), func(text string) { *format = text })
}

// filters are flags that become query parameters.
type filters struct {
	cmd   *cobra.Command
	query url.Values
}

// text adds a filter whose text must pass check, which may be nil. An empty text is
// refused: it may come from an unset variable, and without the filter the command would
// select everything.
func (f filters) text(name, parameter, usage string, check func(string) error) {
	textFlag(f.cmd, name, usage, nil, func(text string) error {
		if text == "" {
			return errors.New("it is empty; omit the flag to select any")
		}
		if token.IsCredential(text) || token.Contains(text) {
			return errValue
		}
		if check != nil {
			if err := check(text); err != nil {
				return err
			}
		}
		f.query.Set(parameter, text)
		return nil
	})
}

// word adds a filter that takes one of the words.
func (f filters) word(name, parameter, usage string, words ...string) {
	wordFlag(f.cmd, name, usage, words, func(text string) { f.query.Set(parameter, text) })
}

// on adds a filter without a value.
func (f filters) on(name, parameter, value, usage string) {
	f.cmd.Flags().BoolFunc(name, usage, func(text string) error {
		on, err := strconv.ParseBool(text)
		f.query.Del(parameter)
		if on {
			f.query.Set(parameter, value)
		}
		return err
	})
}

// limitFlag adds --limit; 0: all.
func limitFlag(cmd *cobra.Command) *int {
	limit := 0
	textFlag(cmd, "limit", "the maximum `NUMBER` (default all)", nil, func(text string) error {
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil || n == 0 {
			return errors.New("it must be a positive whole number")
		}
		limit = int(n)
		return nil
	})
	return &limit
}

// checkTime accepts an RFC 3339 time or a day.
func checkTime(text string) error {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if _, err := time.Parse(layout, text); err == nil {
			return nil
		}
	}
	return errors.New("it must be a day of UTC such as 2030-01-31, or a time such as 2030-01-31T12:00:00Z")
}

// checkPeriod accepts a limited period.
func checkPeriod(text string) error {
	switch l, err := config.ParseLifetime(text); {
	case err != nil:
		return err
	case l.Unlimited:
		return errors.New("it must have an end; write a time such as 90d or 1h")
	}
	return nil
}

// checkPeriodOrTime accepts either.
func checkPeriodOrTime(text string) error {
	if checkPeriod(text) == nil || checkTime(text) == nil {
		return nil
	}
	return errors.New("it must be a time such as 90d, or a day such as 2030-01-31")
}

// expiryFlag adds --expires.
func expiryFlag(cmd *cobra.Command, usage string, asked *web.Expiry) {
	textFlag(cmd, "expires", usage, nil, func(text string) error {
		if _, err := time.Parse(time.RFC3339, text); err == nil {
			*asked = web.Expiry{ExpiresAt: text}
			return nil
		}
		if _, err := config.ParseLifetime(text); err != nil {
			return fmt.Errorf("%w; or write a time such as 2030-01-31T12:00:00Z", err)
		}
		*asked = web.Expiry{ExpiresIn: text}
		return nil
	})
}

// addNetwork reads --ip, which may be repeated.
func addNetwork(networks *[]string) func(string) error {
	return func(text string) error {
		_, err := config.ParsePrefix(text)
		*networks = append(*networks, text)
		return err
	}
}

// parseRate reads a rate such as 600/1m or 600/1m/100: requests, period and burst.
func parseRate(text string) (*web.Rate, error) {
	wrong := errors.New("it must be requests/time, such as 600/1m, or requests/time/burst, such as 600/1m/100")
	parts := strings.Split(text, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return nil, wrong
	}
	per, err := config.ParseLifetime(parts[1])
	if err != nil || per.Unlimited {
		return nil, wrong
	}
	counts := []int{0, 0}
	for i, part := range append(parts[:1:1], parts[2:]...) {
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil || n == 0 {
			return nil, wrong
		}
		counts[i] = int(n)
	}
	return &web.Rate{Requests: counts[0], PerSeconds: int(per.Duration / time.Second), Burst: counts[1]}, nil
}
