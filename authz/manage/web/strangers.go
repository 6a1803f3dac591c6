package web

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
)

// maxAsking is how many identifications of strangers of one network may be under
// way.
const maxAsking = 8

// strangers hold those of whom nobody knows who they are to what one network may
// ask of Jira, so that they don't keep others from being identified. Who shows a
// credential that was good lately is no stranger: many may come from one address,
// and what others there do is nothing to them.
type strangers struct {
	now    func() time.Time
	limits *limits // by network
	good   *credentials

	mu     sync.Mutex
	asking map[string]int // identifications under way, by network
}

// identify returns whose a credential is, as ask says. Those that are found good
// cost nothing; beyond what the others may cost ask is not called.
func (s *strangers) identify(
	ctx context.Context, client netip.Addr, c directory.Credential,
	ask func(context.Context, directory.Credential) (directory.User, error),
) (directory.User, error) {
	if c == (directory.Credential{}) {
		return ask(ctx, c) // without Jira
	}
	from, hash := network(client), s.good.hash(c)
	known := s.good.has(hash, s.now())
	if !known {
		wait := s.limits.left(from, failures)
		if wait == 0 && !s.enter(from) {
			wait = time.Second
		}
		if wait > 0 {
			return directory.User{}, tooMany(wait, tooManyFailures)
		}
		defer s.leave(from)
	}
	user, err := ask(ctx, c)
	switch ended := errors.Is(err, directory.ErrNotLoggedIn) || errors.Is(err, directory.ErrInactive); {
	case err == nil:
		s.good.put(user.Name, hash, s.now())
	case ended:
		s.good.drop(hash)
		fallthrough
	case !known && !(errors.Is(err, directory.ErrUnavailable) && !errors.Is(err, directory.ErrBusy)):
		s.limits.charge(from, failures) // but not for Jira's silence
	}
	return user, err
}

const tooManyFailures = "From your address there come too many requests of whose senders Jira does not say who they are. " +
	"Wait as long as the Retry-After header says, and log in to Jira."

// enter counts an identification that begins, unless too many are under way.
func (s *strangers) enter(from string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asking[from] >= maxAsking {
		return false
	}
	if s.asking == nil {
		s.asking = make(map[string]int)
	}
	s.asking[from]++
	return true
}

func (s *strangers) leave(from string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asking[from]--; s.asking[from] == 0 {
		delete(s.asking, from)
	}
}

// network names what is taken for one client: an IPv4 address, the /64 of an IPv6
// address, which is one subscriber's, or all addresses that are not known.
func network(client netip.Addr) string {
	if !client.IsValid() {
		return ""
	}
	bits := client.BitLen()
	if client.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(client, bits).Masked().String()
}
