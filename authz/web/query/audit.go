package query

import (
	"strconv"

	"github.com/tokengate/tokengate/authz/manage"
)

// AuditFilters are the parameters that filter audit records, and AuditPages those that
// choose the page.
var (
	AuditFilters = []string{"actor", "action", "tokenId", "user", "outcome", "from", "until"}
	AuditPages   = []string{"after", "limit"}
)

// Audit parses the filters and page of the audit log. It fails with an Error.
func Audit(q Values) (wanted manage.AuditQuery, err error) {
	p := parser{Values: q}
	wanted.Actor, wanted.Action, wanted.TokenID, wanted.Owner = q["actor"], q["action"], q["tokenId"], q["user"]
	wanted.Outcome = choice(&p, "outcome", map[string]string{"done": "done", "refused": "refused"})
	wanted.From, wanted.Until = p.span("from", "until")
	wanted.Limit = p.number("limit")
	if q["after"] != "" {
		if wanted.Before, err = strconv.ParseUint(q["after"], 10, 64); err != nil || wanted.Before == 0 {
			p.fail("after", "The parameter \"after\" must be the \"next\" of the previous page.")
		}
	}
	return wanted, p.err
}
