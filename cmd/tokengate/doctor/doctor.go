// Package doctor examines an installation: the configuration file, the store, the
// sockets, the running server, the configuration of the running Envoy, and the
// application. Start with Checks and Run.
package doctor

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/token"
	"github.com/tokengate/tokengate/authz/web"
	"github.com/tokengate/tokengate/envoy/running"
)

// Verdict is the result of a check.
type Verdict string

// The verdicts.
const (
	OK      Verdict = "ok"
	Warning Verdict = "warning" // works, but needs a look
	Error   Verdict = "error"   // does not work, or protects nothing
	Skipped Verdict = "skipped" // could not be checked; the text says why
)

// Finding is what a check found.
type Finding struct {
	ID      string  `json:"id"` // of the check; does not change between versions
	Title   string  `json:"title"`
	Verdict Verdict `json:"verdict"`
	Found   string  `json:"found"`        // what is right, wrong, or the reason why it was skipped
	Do      string  `json:"do,omitempty"` // what to do about a warning or an error
	Link    string  `json:"link"`         // a section in this repository
}

// Page is the page with a section for each check.
const Page = "k8s/doctor.md"

// Options say what to examine.
type Options struct {
	File       string   // the server's configuration; "" only asks the addresses in Jira
	EnvoyAdmin string   // the socket of Envoy's administration
	EnvoyKnown bool     // an error if there is none: the user named it
	Jira       []string // URLs of the application that must not answer from here
	User       string   // a user for the probe of the identity header; "": an owner of a token
	InPod      bool     // this is a pod of Kubernetes

	// Ask sends GET to a path of the API at an admin socket, and decodes the answer.
	Ask func(ctx context.Context, socket, path string, query url.Values, answer any) error
	Now func() time.Time
}

// Check is one of the checks, in the order of Checks.
type Check struct {
	ID    string // does not change between versions
	Title string // what is right
	Do    string // what to do if it is not

	needs need
	run   func(context.Context, *site) result
}

// need is what a check needs from those before it.
type need int

const (
	nothing need = iota
	aConfiguration
	aServer
	anApplication
	anEnvoy
)

// result is what a check returns; see Finding.
type result struct {
	verdict Verdict
	found   string
}

func right(format string, args ...any) result   { return result{OK, fmt.Sprintf(format, args...)} }
func warning(format string, args ...any) result { return result{Warning, fmt.Sprintf(format, args...)} }
func wrong(format string, args ...any) result   { return result{Error, fmt.Sprintf(format, args...)} }
func skipped(format string, args ...any) result { return result{Skipped, fmt.Sprintf(format, args...)} }

// site is an installation, as far as the checks so far know it.
type site struct {
	Options
	missing map[need]string // why something is not there; absent: it is there

	config  config.Config
	product *product.Product
	status  web.Status
	tokens  []web.Token // the most recently used ones; nil: unknown

	client   product.Client // of the application
	date     time.Time      // the application's clock; zero: unknown
	asked    time.Time      // when date was received
	believed bool           // the application believes the identity header

	envoy      *running.Configuration
	comparison running.Comparison
}

// Checks are all checks in order.
var Checks = joined(fileChecks, serverChecks, upstreamChecks, envoyChecks)

func joined(lists ...[]Check) (all []Check) {
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

// checkTime limits one check.
const checkTime = 15 * time.Second

// Run runs all checks. Without Options.File, it only runs that of Options.Jira.
func Run(ctx context.Context, o Options) (findings []Finding) {
	s := &site{Options: o, missing: map[need]string{
		aConfiguration: "there is no configuration", aServer: "the server does not answer",
		anApplication: "the application does not answer", anEnvoy: "Envoy's configuration is unknown",
	}}
	for _, c := range Checks {
		if o.File == "" && c.ID != aroundCheck {
			continue
		}
		findings = append(findings, c.examine(ctx, s))
	}
	return findings
}

func (c Check) examine(ctx context.Context, s *site) Finding {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	var r result
	if reason := s.missing[c.needs]; reason != "" && !(s.File == "" && c.ID == aroundCheck) {
		r = skipped("%s", reason)
	} else {
		r = c.run(ctx, s)
	}
	f := Finding{ID: c.ID, Title: c.Title, Verdict: r.verdict, Found: token.Redact(r.found), Link: Page + "#" + c.ID}
	if r.verdict == Warning || r.verdict == Error {
		f.Do = c.Do
	}
	return f
}
