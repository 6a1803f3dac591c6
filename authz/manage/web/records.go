package web

import (
	"net/http"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/token"
)

// Me answers GET /me.
type Me struct {
	Name             string `json:"name"`
	DisplayName      string `json:"displayName"` // empty: not known
	From             string `json:"from"`        // the client's address, or "admin socket"
	Administrator    bool   `json:"administrator"`
	MayUse           bool   `json:"mayUse"`    // tokens of theirs are good
	MayCreate        bool   `json:"mayCreate"` // for themselves
	CreatesForOthers bool   `json:"createsForOthers"`
	InForce          int    `json:"inForce"` // tokens of theirs
	MaxPerUser       int    `json:"maxPerUser"`
	MaxOverlap       string `json:"maxOverlap"` // of a rotation, such as 7d
	Terms            *Terms `json:"terms"`      // of tokens that they create for themselves; null: none
}

// Terms are what a token must keep to.
type Terms struct {
	Key              string `json:"key"`         // of the rule in the configuration
	MaxLifetime      string `json:"maxLifetime"` // such as 90d, or unlimited
	ReadOnly         bool   `json:"readOnly"`
	Approval         bool   `json:"approval"`
	NetworksRequired bool   `json:"networksRequired"`
	Rate             *Rate  `json:"rate"` // null: none
}

func me(c call[empty], m *manage.Manager) (Me, error) {
	found, err := m.Me(c.ctx, c.caller)
	if err != nil {
		return Me{}, err
	}
	answer := Me{
		Name:             found.Name,
		DisplayName:      found.DisplayName,
		From:             found.From,
		Administrator:    found.Administrator,
		MayUse:           found.MayUse,
		MayCreate:        found.MayCreate,
		CreatesForOthers: found.ForOthers,
		InForce:          found.InForce,
		MaxPerUser:       found.MaxPerUser,
		MaxOverlap:       config.Lifetime{Duration: found.MaxOverlap}.String(),
	}
	if t := found.Terms; t != nil {
		answer.Terms = &Terms{
			Key:              t.Key,
			MaxLifetime:      t.MaxLifetime.String(),
			ReadOnly:         t.ReadOnly,
			Approval:         t.Approval,
			NetworksRequired: t.NetworksRequired,
		}
		if t.Rate != (config.Rate{}) {
			answer.Terms.Rate = &Rate{Requests: t.Rate.Requests, PerSeconds: int(t.Rate.Per / time.Second), Burst: t.Rate.Burst}
		}
	}
	return answer, nil
}

// PasswordUser is a user who still uses passwords, in the answer to GET
// /passwords: {"users": […]}, whoever did so last coming first.
type PasswordUser struct {
	User     string        `json:"user"`
	Requests uint64        `json:"requests"`
	LastSeen int64         `json:"lastSeen"` // milliseconds since 1970
	Uses     []PasswordUse `json:"uses"`
}

// PasswordUse are passwords from one client at one address.
type PasswordUse struct {
	Client     string  `json:"client"`  // its User-Agent; empty: not known, or any of many
	Address    *string `json:"address"` // null: the same
	FirstSeen  int64   `json:"firstSeen"`
	LastSeen   int64   `json:"lastSeen"`
	Passed     uint64  `json:"passed"`
	WouldBlock uint64  `json:"wouldBlock"` // those of them that block would have refused
	Blocked    uint64  `json:"blocked"`
}

// PasswordUsers answers GET /passwords.
type PasswordUsers struct {
	Users []PasswordUser `json:"users"`
}

// listPasswords answers with who uses passwords.
func listPasswords(m *manage.Manager) endpoint {
	return newReplyEndpoint[empty, PasswordUsers](http.MethodGet, "passwords", func(c call[empty]) (reply, error) {
		users, err := m.Passwords(c.ctx, c.caller)
		if err != nil {
			return reply{}, err
		}
		return arrayReply(`{"users":[`, "]}\n", func(next func(any) error) error {
			for _, u := range users {
				if err := next(passwordUser(u)); err != nil {
					return err
				}
			}
			return nil
		}), nil
	})
}

func passwordUser(known manage.PasswordUser) PasswordUser {
	u := PasswordUser{User: known.User, Requests: known.Requests(), LastSeen: known.Last().UnixMilli(), Uses: make([]PasswordUse, len(known.Uses))}
	for i, use := range known.Uses {
		u.Uses[i] = PasswordUse{
			Client:     token.Redact(use.Client),
			FirstSeen:  use.First.UnixMilli(),
			LastSeen:   use.Last.UnixMilli(),
			Passed:     use.Passed,
			WouldBlock: use.WouldBlock,
			Blocked:    use.Blocked,
		}
		if use.Address.IsValid() {
			text := use.Address.String()
			u.Uses[i].Address = &text
		}
	}
	return u
}

// Totals answers GET /totals, the oldest day first. Days without a request are
// left out.
type Totals struct {
	Days []DayTotals `json:"days"`
}

// DayTotals are the requests of a day of UTC.
type DayTotals struct {
	Date      string            `json:"date"`      // such as 2030-01-31
	Allowed   uint64            `json:"allowed"`   // by a token
	Passwords uint64            `json:"passwords"` // let through with a password
	Unknown   uint64            `json:"unknown"`   // with a password, let through or refused, that GET /passwords says nothing of
	Refused   map[string]uint64 `json:"refused"`   // by reason
}

func totals(c call[empty], m *manage.Manager) (Totals, error) {
	days, err := m.Totals(c.ctx, c.caller)
	if err != nil {
		return Totals{}, err
	}
	answer := Totals{Days: make([]DayTotals, len(days))}
	for i, d := range days {
		t := DayTotals{
			Date: d.Day.String(), Allowed: d.Counts[authz.TokenAllowed.String()], Passwords: d.Counts[authz.Password.String()],
			Unknown: d.Counts[manage.UnknownPasswords], Refused: make(map[string]uint64),
		}
		for word, n := range d.Counts {
			if manage.IsRefusal(word) {
				t.Refused[word] = n
			}
		}
		answer.Days[i] = t
	}
	return answer, nil
}
