package manage

import (
	"context"
	"io"

	"github.com/tokengate/tokengate/store/backup"
)

// Backup writes a backup of the store, which holds the hashes of all tokens, for an operator. The audit record of it is written
// first, and is in it. It fails with ErrForbidden.
func (m *Manager) Backup(ctx context.Context, c Caller, to io.Writer) error {
	return m.perform(ctx, c, backupAction, "", func(op *operation) error {
		if c.kind != kindOperator {
			return refused(Forbidden, "A backup is given on the admin socket only.")
		}
		if err := m.Tokens.AppendAudit(ctx, op.newRecord("done")); err != nil {
			return err
		}
		return backup.Write(ctx, to, m.Tokens.Export, op.now)
	})
}
