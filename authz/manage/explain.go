package manage

import (
	"context"
	"errors"

	"github.com/tokengate/tokengate/authz"
)

// Explain tells how a request would be decided, and what each rule says of it.
// Nothing comes of the request. With an id it is as if the request came with
// that token; otherwise it is with the credential that it holds. Who is no
// administrator may ask about their own tokens only. Explain fails with
// ErrForbidden or ErrNotFound.
func (m *Manager) Explain(ctx context.Context, c Caller, r *authz.Request, id string, v authz.View) (d authz.Decision, verdicts []authz.CheckResult, err error) {
	err = m.performOn(ctx, c, explainAction, id, func(op *operation) error {
		if id != "" {
			t, err := op.get(ctx, id)
			if err != nil {
				return err
			}
			d, verdicts = authz.ExplainFor(r, t.ID, v)
			return nil
		}
		d, verdicts = authz.Explain(r, v)
		if op.administrator {
			return nil
		}
		// What is not the caller's own looks as if it were not there.
		_, err := op.get(ctx, d.TokenID.String())
		if err != nil && !isRefusal(err) || errors.Is(err, ErrUnavailable) {
			d, verdicts = authz.Decision{}, nil
			return err
		}
		if err != nil || !d.Reason.SecretVerified() {
			d, verdicts = authz.Decision{}, nil
			return refused(Forbidden, "You may try requests with your own API tokens only.")
		}
		return nil
	})
	return d, verdicts, err
}
