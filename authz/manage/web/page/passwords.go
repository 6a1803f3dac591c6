package page

import (
	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/policy"
	"github.com/tokengate/tokengate/store"
)

// passwordsPart says who still uses passwords.
type passwordsPart struct {
	Mode      string
	Statement string // what switching to block would hit
	Note      string // what of it is not known
	Users     []passwordRow
	More      int // users beyond those
}

// passwordRow is a user with passwords from one client at one address, or the first
// of several such.
type passwordRow struct {
	User, URL string
	Client    string
	Address   string
	Last      timestamp
	Passed    string
	Blocked   string
	Exempt    bool
	More      int // clients beyond that one
}

// maxPasswordRows bounds the list on the page; the API has all of it.
const maxPasswordRows = 50

// passwords says what switching to block would hit today: of the requests on record
// those that no exemption by user or network holds. Which of them went to a path
// that is exempt is not on record.
func (s *Site) passwords(users []manage.PasswordUser, rules policy.Passwords, days []store.DayTotals) passwordsPart {
	p := passwordsPart{Mode: string(rules.Mode)}
	now := s.Now().UTC()
	var hitUsers int
	var hit, blocked uint64
	for _, u := range users {
		row := passwordRow{User: u.User, URL: s.url("tokens?" + encode("user", u.User)), Last: when(u.Last(), now), More: len(u.Uses) - 1, Exempt: true}
		row.Client = brief(u.Uses[0].Client)
		if a := u.Uses[0].Address; a.IsValid() {
			row.Address = a.String()
		}
		var mine, passed, refused uint64
		for _, use := range u.Uses {
			passed += use.Passed
			refused += use.Blocked
			if !rules.AllowedUsers.Contain(use.User) && !rules.AllowedNetworks.Contain(use.Address) {
				mine += use.Passed
				row.Exempt = false
			}
		}
		if mine > 0 {
			hitUsers++
		}
		hit, blocked = hit+mine, blocked+refused
		row.Passed, row.Blocked = number(passed), number(refused)
		if len(p.Users) < maxPasswordRows {
			p.Users = append(p.Users, row)
		} else {
			p.More++
		}
	}
	var unknown uint64
	for _, d := range days {
		unknown += d.Counts[manage.UnknownPasswords]
	}
	switch {
	case rules.Mode == config.PasswordsBlock:
		p.Statement = text("passwords.blocked", number(blocked))
	case hit == 0:
		p.Statement = text("passwords.nobody")
	default:
		p.Statement = text("passwords.hit", count("passwords.users", hitUsers), count("passwords.requests", hit))
	}
	if unknown > 0 {
		p.Note = text("passwords.unknown", number(unknown))
	}
	return p
}
