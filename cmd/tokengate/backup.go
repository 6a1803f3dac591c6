package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokengate/tokengate/store/backup"
	"github.com/tokengate/tokengate/store/badger/files"
)

func newBackupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write all records to a file, while the server runs",
		Long: "Write all records of the running server's store, as of one moment, to a file with mode\n" +
			"0600. It takes the place of an existing file once it is complete. It holds the hashes of the\n" +
			"tokens and no token; whoever can change it can make tokens. With - it goes to standard output,\n" +
			"such as out of a pod: check it with store restore --check.",
		Example: "  tokengate store backup /backup/tokengate-$(date +%F)",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			if args[0] == "-" {
				return c.stream(cmd.Context(), cmd.OutOrStdout())
			}
			counts, err := c.backup(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "Wrote %s: %s.\n", cell(args[0]), activeTokens(counts.Active))
			return printCounts(cmd, counts)
		},
	}
	addSocketFlag(cmd)
	return cmd
}

// backup writes a backup to a file, which gets its name once it was read again.
func (c *client) backup(ctx context.Context, path string) (backup.Counts, error) {
	body, err := c.send(ctx, http.MethodPost, "backup", nil, nil)
	if err != nil {
		return backup.Counts{}, err
	}
	defer body.Close()
	temporary, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // with mode 0600
	if err != nil {
		return backup.Counts{}, fmt.Errorf("write backup: %w", err)
	}
	counts, err := receive(ctx, temporary, body)
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return backup.Counts{}, errors.Join(fmt.Errorf("write backup: %w", err), os.Remove(temporary.Name()))
	}
	return counts, files.SyncDir(filepath.Dir(path))
}

// stream writes a backup to a stream. An error says that it is incomplete.
func (c *client) stream(ctx context.Context, to io.Writer) error {
	body, err := c.send(ctx, http.MethodPost, "backup", nil, nil)
	if err != nil {
		return err
	}
	if _, err := io.Copy(to, body); err != nil {
		return errors.Join(fmt.Errorf("write backup: %w", err), body.Close())
	}
	return body.Close()
}

// receive writes, closes and reads a file.
func receive(ctx context.Context, to *os.File, from io.Reader) (backup.Counts, error) {
	_, err := io.Copy(to, from)
	if err == nil {
		err = to.Sync()
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return backup.Counts{}, err
	}
	written, err := backup.Open(to.Name())
	if err != nil {
		return backup.Counts{}, err
	}
	counts, err := backup.Count(ctx, written.Records, time.Now())
	return counts, errors.Join(err, written.Close())
}
