package web

import (
	"math"
	"time"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/authz/manage"
	"github.com/tokengate/tokengate/authz/token"
)

// Expiry says when a token is to expire, in one of three ways.
type Expiry struct {
	ExpiresIn     string `json:"expiresIn,omitempty"`     // such as "90d", "1d12h" or "unlimited"
	ExpiresInDays *int64 `json:"expiresInDays,omitempty"` // days of 24 hours, at least 1
	ExpiresAt     string `json:"expiresAt,omitempty"`     // RFC 3339, such as "2030-01-31T12:00:00Z"
}

const (
	day     = 24 * time.Hour
	maxDays = math.MaxInt64 / int64(day)
)

// read returns the expiry; the zero Expiry if none is asked for.
func (e Expiry) read() (asked manage.Expiry, err error) {
	ways := 0
	if e.ExpiresIn != "" {
		ways++
		if asked.In, err = config.ParseLifetime(e.ExpiresIn); err != nil {
			return asked, badField("expiresIn", "expiresIn: %s.", token.Excerpt(err.Error()))
		}
	}
	if e.ExpiresInDays != nil {
		ways++
		days := *e.ExpiresInDays
		if days < 1 || days > maxDays {
			return asked, badField("expiresInDays", "expiresInDays must be 1 to %d.", maxDays)
		}
		asked.In = config.Lifetime{Duration: time.Duration(days) * day}
	}
	if e.ExpiresAt != "" {
		ways++
		if asked.At, err = time.Parse(time.RFC3339, e.ExpiresAt); err != nil || asked.At.IsZero() {
			return asked, badField("expiresAt", "expiresAt must be a time in RFC 3339, such as 2030-01-31T12:00:00Z.")
		}
	}
	if ways > 1 {
		return asked, badField("expiresIn", "Give only one of expiresIn, expiresInDays and expiresAt.")
	}
	return asked, nil
}

// readOverlap reads how long an old secret stays good; nothing is no time.
func readOverlap(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	overlap, err := config.ParseLifetime(text)
	switch {
	case err != nil:
		return 0, badField("overlap", "overlap: %s.", token.Excerpt(err.Error()))
	case overlap.Unlimited:
		return 0, badField("overlap", "An overlap has an end. Give a time such as 1h.")
	}
	return overlap.Duration, nil
}
