package app

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"go.uber.org/zap"
)

// usersFile is the file beside the database that holds the last snapshot of the
// directory.
const usersFile = "tokengate.directory"

// saveEvery is the maximum age of that file while the directory answers. Revoked rights
// are saved immediately: see directory.Directory.
const saveEvery = 5 * time.Minute

// keepDirectory restores the snapshot from before a restart, so that tokens do not wait
// for a refresh, and saves the last snapshot at the end, if the store has a directory.
func (s *Server) keepDirectory() {
	if s.dataDir == "" {
		return
	}
	err := s.users.directory.Restore(s.usersFile())
	switch {
	case err == nil:
		s.users.restored = s.users.directory.Snapshot().Taken()
		s.log.Info("using the saved users until the directory answers",
			zap.Time("good_until", s.users.directory.GoodUntil()))
	case !errors.Is(err, fs.ErrNotExist):
		s.log.Warn("tokens wait until the directory answers", zap.Error(err))
	}
	s.atStop("save the users", func(context.Context) error { return s.saveUsers(0) })
}

// saveUsers saves the snapshot unless the saved one is recent enough. It writes nothing
// to a disk that is almost full, whose rest belongs to the database.
func (s *Server) saveUsers(every time.Duration) error {
	if s.dataDir == "" {
		return nil
	}
	if err := s.health.check(); err != nil {
		return err
	}
	return s.users.directory.Save(s.usersFile(), every)
}

func (s *Server) usersFile() string {
	return filepath.Join(s.dataDir, usersFile)
}
