package app

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/tokengate/tokengate/authz/directory"
)

// usersFile is the file beside the database that holds the last snapshot of the
// directory.
const usersFile = "tokengate.directory"

// saveEvery is the maximum age of that file while the directory answers. Revoked rights
// are saved immediately: see directory.Directory.
const saveEvery = 5 * time.Minute

// restoreTimeout limits the search for a snapshot in the store at the start.
const restoreTimeout = 5 * time.Second

// keepDirectory restores the snapshot from before a restart, so that tokens do not wait
// for a refresh: from the store, if several servers share it, or else from a file. The file
// gets the last snapshot at the end.
func (s *Server) keepDirectory(ctx context.Context) {
	var err error
	if s.users.shared != nil {
		ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
		defer cancel()
		err = s.users.directory.RestoreShared(ctx, s.users.shared)
	} else {
		err = s.users.directory.Restore(s.usersFile())
		s.atStop("save the users", func(context.Context) error { return s.saveUsers(0) })
	}
	switch {
	case err == nil:
		s.users.restored = s.users.directory.Snapshot().Taken()
		s.log.Info("using the saved users until the directory answers",
			zap.Time("good_until", s.users.directory.GoodUntil()))
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, directory.ErrNotSaved):
		s.log.Warn("tokens wait until the directory answers", zap.Error(err))
	}
}

// saveUsers saves the snapshot unless the saved one is recent enough. It writes nothing
// to a disk that is almost full, whose rest belongs to the database.
func (s *Server) saveUsers(every time.Duration) error {
	if s.users.shared != nil {
		return nil // saved with each refresh
	}
	if err := s.health.check(); err != nil {
		return err
	}
	return s.users.directory.Save(s.usersFile(), every)
}

func (s *Server) usersFile() string {
	return filepath.Join(s.dataDir, usersFile)
}
