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
	wanted.Actor, wanted.Action, wanted.TokenID, wanted.Owner = q["actor"], q["action"], q["tokenId"], q["user"]
	if wanted.Outcome, err = Choice(q, "outcome", map[string]string{"done": "done", "refused": "refused"}); err != nil {
		return wanted, err
	}
	if wanted.From, err = q.time("from", false); err != nil {
		return wanted, err
	}
	if wanted.Until, err = q.time("until", true); err != nil {
		return wanted, err
	}
	if wanted.Limit, err = q.number("limit"); err != nil {
		return wanted, err
	}
	if q["after"] != "" {
		if wanted.Before, err = strconv.ParseUint(q["after"], 10, 64); err != nil || wanted.Before == 0 {
			return wanted, bad("after", "The parameter \"after\" must be the \"next\" of the previous page.")
		}
	}
	return wanted, nil
}
