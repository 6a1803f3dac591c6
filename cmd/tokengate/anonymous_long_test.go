//go:build long

package main

import (
	"fmt"
	"testing"
	"time"
)

// During 500 requests with invented cookies a second, from one provider's networks or
// from everywhere, at least 95 of 100 users who have just logged in are identified within
// two seconds, and users who are known already do not wait.
func TestLongAnonymousFlood(t *testing.T) {
	for name, address := range map[string]func(n int) string{
		"from one provider": func(n int) string { return fmt.Sprintf("2001:db8:%x:%x::1", n>>16, n&0xffff) },
		"from everywhere":   func(n int) string { return fmt.Sprintf("2a%02x:%x:%x::1", n%251, n%65521, n%65519) },
		"from one address":  func(int) string { return "192.0.2.77" },
	} {
		t.Run(name, func(t *testing.T) {
			const logins = 100
			got := floodAnonymously(t, 500, logins, 50*time.Millisecond, address)
			if got.inTime < logins*95/100 || got.denied > 0 || got.longest > 2*time.Second {
				t.Errorf("%+v", got)
			}
		})
	}
}
