package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/backup"
	"github.com/tokengate/tokengate/store/badger"
)

func newStoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Copy the store into one of another kind, back it up and restore it",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCopyCommand(), newBackupCommand(), newRestoreCommand())
	return cmd
}

func newCopyCommand() *cobra.Command {
	var from, to string
	cmd := &cobra.Command{
		Use:   "copy --from FILE --to FILE",
		Short: "Copy all records into another, empty store, while no server runs",
		Long: "Copy all records from the store of one configuration file into the store of another one,\n" +
			"which must be empty, read both again and compare them record by record. Stop all servers\n" +
			"of both before. The source is not changed.",
		Example: "  tokengate store copy --from tokengate.yaml --to tokengate-etcd.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" || to == "" {
				return usagef("store copy needs --from FILE and --to FILE")
			}
			return copyStore(cmd, from, to)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "configuration `FILE` whose store is copied")
	cmd.Flags().StringVar(&to, "to", "", "configuration `FILE` whose store gets the records")
	return cmd
}

func copyStore(cmd *cobra.Command, from, to string) (err error) {
	source, err := config.Load(from)
	if err != nil {
		return err
	}
	target, err := config.Load(to)
	if err != nil {
		return err
	}
	if reflect.DeepEqual(source.Store, target.Store) {
		return fmt.Errorf("%s and %s name the same store", from, to)
	}
	s, err := openStore(cmd, source, true)
	if err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	counts, err := fillStore(cmd, target, s.Export, backup.CopyAction, map[string]store.Change{"source": {After: source.Store.Kind}})
	if err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Copied and compared record by record: %s.\n"+
		"Do not start a server with the old store again: it does not learn which tokens are revoked from now on.\n", activeTokens(counts.Active))
	return printCounts(cmd, counts)
}

// activeTokens returns a number of active tokens in words.
func activeTokens(n int) string {
	if n == 1 {
		return "1 token is active"
	}
	return strconv.Itoa(n) + " tokens are active"
}

func newRestoreCommand() *cobra.Command {
	var file string
	var disabled, check bool
	cmd := &cobra.Command{
		Use:   "restore --config FILE BACKUP",
		Short: "Restore a backup into an empty store, while no server runs",
		Long: "Restore a backup into the store of the configuration file, which must be empty. Run it as\n" +
			"the server's user. A backup is the past: tokens that were revoked after it was made are\n" +
			"active again. With --disabled, all active tokens come back disabled, so that an\n" +
			"administrator enables those that are still to be used. With - it is read from standard\n" +
			"input, such as into a pod, and copied to a temporary file first. With --check, the backup\n" +
			"is only read: it needs no configuration, and a server may run.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if check && (disabled || file != "") {
				return usagef("store restore --check needs no other flag")
			}
			if check {
				return checkBackup(cmd, args[0])
			}
			if file == "" {
				return usagef("store restore needs --config FILE, or --check")
			}
			return restore(cmd, file, args[0], disabled)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration `FILE` of the server to come")
	cmd.Flags().BoolVar(&disabled, "disabled", false, "disable all active tokens")
	cmd.Flags().BoolVar(&check, "check", false, "only say whether the backup is whole")
	return cmd
}

// checkBackup says whether a backup is whole and what is in it.
func checkBackup(cmd *cobra.Command, from string) (err error) {
	in, name := cmd.InOrStdin(), "standard input"
	if from != "-" {
		f, err := os.Open(from)
		if err != nil {
			return fmt.Errorf("open backup: %w", err)
		}
		defer f.Close()
		in, name = f, from
	}
	made, counts, err := backup.Check(cmd.Context(), in, name, time.Now())
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "The backup of %s is whole: %s in it.\n", made.Format(time.RFC3339), activeTokens(counts.Active))
	return printCounts(cmd, counts)
}

func restore(cmd *cobra.Command, file, from string, disabled bool) (err error) {
	c, err := config.Load(file)
	if err != nil {
		return err
	}
	if from == "-" {
		if from, err = temporary(cmd.InOrStdin()); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.Remove(from)) }()
	}
	in, err := backup.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	// The whole file is good before anything is written.
	found, err := backup.Count(cmd.Context(), in.Records, time.Now())
	if err != nil {
		return err
	}
	records := in.Records
	if disabled {
		records = backup.Disabled(records)
	}
	counts, err := fillStore(cmd, c, records, backup.RestoreAction, map[string]store.Change{
		"backup": {After: in.Made.Format(time.RFC3339)}, "disabled": {After: strconv.FormatBool(disabled)},
	})
	if err != nil {
		return err
	}
	message := "Restored the backup of %s: %s, also tokens that were revoked after it. Revoke those again before clients reach the server: store restore --disabled makes sure.\n"
	if disabled {
		message = "Restored the backup of %s: %s in it, and disabled now, also tokens that were revoked after it. Enable those to keep with tokengate token enable.\n"
	}
	fmt.Fprintf(cmd.ErrOrStderr(), message, in.Made.Format(time.RFC3339), activeTokens(found.Active))
	return printCounts(cmd, counts)
}

// temporary copies a stream to a temporary file, which only this user can read.
func temporary(from io.Reader) (path string, err error) {
	f, err := os.CreateTemp("", "tokengate-restore-")
	if err != nil {
		return "", fmt.Errorf("copy the backup: %w", err)
	}
	if _, err := io.Copy(f, from); err != nil {
		return "", fmt.Errorf("copy the backup: %w", errors.Join(err, f.Close(), os.Remove(f.Name())))
	}
	if err := f.Close(); err != nil {
		return "", fmt.Errorf("copy the backup: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return f.Name(), nil
}

// fillStore opens the store of a configuration and adds records to it.
func fillStore(cmd *cobra.Command, c config.Config, records store.Records, action string, changes map[string]store.Change) (counts backup.Counts, err error) {
	s, err := openStore(cmd, c, false)
	if err != nil {
		return counts, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return backup.Fill(cmd.Context(), s, records, store.Audit{
		Time: time.Now().UTC(), Actor: "uid:" + strconv.Itoa(os.Geteuid()), From: "command line",
		Action: action, Outcome: "done", Changes: changes,
	})
}

// openStore opens the store of a configuration as the only process.
func openStore(cmd *cobra.Command, c config.Config, existing bool) (store.Store, error) {
	syscall.Umask(0o077) // as serve does
	opened, err := c.Store.Settings.Open(cmd.Context(), store.OpenOptions{Existing: existing, Log: func(level slog.Level, message string) {
		if level >= slog.LevelWarn {
			fmt.Fprintln(cmd.ErrOrStderr(), "tokengate:", printable(message))
		}
	}})
	switch {
	case errors.Is(err, badger.ErrInUse):
		return nil, fmt.Errorf("stop the server first, because a Badger store is open to one process at a time: %w", err)
	case errors.Is(err, context.Canceled):
		return nil, fmt.Errorf("stopped while opening the store: %w", err)
	case err != nil:
		return nil, err
	}
	return opened.Store, nil
}

// printCounts prints the number of records of each kind.
func printCounts(cmd *cobra.Command, c backup.Counts) error {
	t := table{{"RECORDS", "NUMBER"}}
	for _, kind := range backup.Kinds {
		t = append(t, []string{kind.String(), strconv.Itoa(c.Of[kind])})
	}
	if c.Of[store.UpstreamRecord] > 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "The upstream credentials stay sealed: they need the same files in upstream.identity.pat.sealKeys.")
	}
	return t.print(cmd.OutOrStdout())
}
