package app

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"go.uber.org/zap"
)

// directoryFile is a file beside the database's own, which holds what Jira last
// said of users.
const directoryFile = "tokengate.directory"

// saveEvery is how old that file gets, at the most, while the directory
// answers. Nobody's loss of rights waits that long: see directory.Directory.
const saveEvery = 5 * time.Minute

// keepDirectory puts into force what was known of users before a restart, so
// that tokens do not wait for Jira, and saves what is known at the end.
func (s *Server) keepDirectory() {
	err := s.users.directory.Restore(s.directoryFile())
	switch {
	case err == nil:
		s.log.Info("what was known of users before the restart is in force until the directory answers",
			zap.Time("good_until", s.users.directory.GoodUntil()))
	case !errors.Is(err, fs.ErrNotExist):
		s.log.Warn("tokens wait until the directory answers", zap.Error(err))
	}
	s.atStop("save what is known of users", func(context.Context) error { return s.saveUsers(0) })
}

// saveUsers saves what is known of users unless what is saved is good enough.
// What is left of a disk that is almost full belongs to the database.
func (s *Server) saveUsers(every time.Duration) error {
	if err := s.health.check(); err != nil {
		return err
	}
	return s.users.directory.Save(s.directoryFile(), every)
}

func (s *Server) directoryFile() string {
	return filepath.Join(s.config.Store.Badger.Dir, directoryFile)
}
