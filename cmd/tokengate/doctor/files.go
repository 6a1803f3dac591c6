package doctor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/seal"
	"github.com/tokengate/tokengate/cmd/tokengate/app"
	"github.com/tokengate/tokengate/store/badger"
)

const asServer = "Run this command as the server's user or as root."

// fileChecks look at files on this machine.
var fileChecks = []Check{
	{ID: "config", Title: "the configuration file can be read", Do: "Correct the file, or name the one that the server uses.",
		run: checkConfig},
	{ID: "store-directory", Title: "only tokengate can change the store's files", needs: aConfiguration,
		Do:  "Mount the volume, or correct store.badger.dir; a first start makes the directory. Take write permission from other users with chmod o-w. " + asServer,
		run: checkStoreDirectory},
	{ID: "sealing-keys", Title: "the sealing keys can be read", needs: aConfiguration,
		Do:  "Correct the files or upstream.identity.pat.sealKeys. Each file has 32 bytes and is readable by its owner and group only. " + asServer,
		run: checkSealKeys},
	{ID: "socket-directories", Title: "only tokengate can replace its sockets", needs: aConfiguration,
		Do:  "Take write permission from other users with chmod o-w, or listen in a directory of tokengate's own.",
		run: checkSocketDirectories},
	socketCheck("grpc", app.GroupSocket, func(l config.Listen) config.Address { return l.GRPC.Address }),
	socketCheck("http", app.GroupSocket, func(l config.Listen) config.Address { return l.HTTP.Address }),
	socketCheck("admin", app.OwnerSocket, func(l config.Listen) config.Address { return l.Admin }),
	socketCheck("metrics", app.GroupSocket, func(l config.Listen) config.Address { return l.Metrics.Address }),
	{ID: "certificates", Title: "no certificate ends soon", needs: aConfiguration,
		Do:  "Renew the certificate before it ends. tokengate reads a changed file by itself.",
		run: checkCertificates},
}

func checkConfig(_ context.Context, s *site) result {
	c, err := config.Load(s.File)
	if err != nil {
		reason := "the configuration cannot be read"
		s.missing[aConfiguration], s.missing[aServer], s.missing[anApplication], s.missing[anEnvoy] = reason, reason, reason, reason
		return wrong("%v", err)
	}
	s.config, s.product = c, config.Products[c.Upstream.Product]
	delete(s.missing, aConfiguration)
	return right("%s is good", s.File)
}

// contentOf returns the SHA-256 of a file as web.Status has it, or "".
func contentOf(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func checkStoreDirectory(_ context.Context, s *site) result {
	settings, isBadger := s.config.Store.Settings.(*badger.Config)
	if !isBadger {
		return right("the store %s has no directory", s.config.Store.Kind)
	}
	info, err := os.Stat(settings.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return wrong("%s does not exist", settings.Dir)
	case err != nil:
		return wrong("%v", err)
	case !info.IsDir():
		return wrong("%s is not a directory", settings.Dir)
	case writableByAll(info) && !s.InPod: // there, only containers that mount the volume reach it
		return wrong("%s has mode %04o: every user may replace its files", settings.Dir, info.Mode().Perm())
	}
	return right("%s, mode %04o", settings.Dir, info.Mode().Perm())
}

func writableByAll(info fs.FileInfo) bool { return info.Mode().Perm()&0o002 != 0 }

func checkSealKeys(_ context.Context, s *site) result {
	if !s.config.Upstream.Identity.HasPAT() {
		return skipped("upstream.identity.pat is not used")
	}
	keys, err := seal.ReadKeys(s.config.Upstream.Identity.PAT.SealKeys)
	if err != nil {
		return wrong("%v", err)
	}
	return right("%s seals (%s); files: %d", keys.Files()[0], keys.Current(), len(keys.Files()))
}

func checkSocketDirectories(_ context.Context, s *site) result {
	l, seen := s.config.Listen, []string{}
	for _, a := range []config.Address{l.GRPC.Address, l.HTTP.Address, l.Admin, l.Metrics.Address} {
		dir := filepath.Dir(a.Address)
		if a.Network != "unix" || slices.Contains(seen, dir) {
			continue
		}
		seen = append(seen, dir)
		if info, err := os.Stat(dir); err == nil && writableByAll(info) && !s.InPod { // Kubernetes makes volumes so
			return wrong("%s has mode %04o: every user may put a socket of its own there, and then answer Envoy or administrators", dir, info.Mode().Perm())
		}
	}
	return right("%s", strings.Join(seen, ", "))
}

// socketCheck returns the check of a listener, which must have this mode if it is a
// unix socket.
func socketCheck(name string, mode fs.FileMode, of func(config.Listen) config.Address) Check {
	return Check{
		ID: "socket-" + name, Title: "listen." + name + " is there, with its mode", needs: aConfiguration,
		Do: "Start tokengate, or restart it with this configuration: it makes the socket with its mode. " + asServer,
		run: func(_ context.Context, s *site) result {
			a := of(s.config.Listen)
			if a.Network != "unix" {
				return right("%v", a)
			}
			return checkSocket(a.Address, mode)
		},
	}
}

func checkSocket(path string, mode fs.FileMode) result {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return wrong("there is no socket at %s", path)
	case err != nil:
		return wrong("%v", err)
	case info.Mode().Type() != fs.ModeSocket:
		return wrong("%s is not a socket", path)
	case writableByAll(info):
		return wrong("%s has mode %04o, not %04o: every user of this machine may connect to it", path, info.Mode().Perm(), mode)
	case info.Mode().Perm() != mode:
		return wrong("%s has mode %04o, not %04o", path, info.Mode().Perm(), mode)
	}
	if system, ok := info.Sys().(*syscall.Stat_t); ok {
		return right("%s, mode %04o, owner %d", path, mode, system.Uid)
	}
	return right("%s, mode %04o", path, mode)
}
