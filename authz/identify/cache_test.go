package identify

import (
	"errors"
	"strconv"
	"testing"
	"time"
)

// State that clients can grow is bounded.
func TestMemoryIsBounded(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	clock := func() time.Time { return now }

	kept := newAnswerCache(maxAnswers)
	h := newHasher()
	first := h.sum(byCookie, "0")
	for i := range 3 * maxAnswers {
		kept.put(h.sum(byCookie, strconv.Itoa(i)), cachedAnswer{until: now.Add(time.Second)})
		if _, ok := kept.get(first, now); !ok { // recently used, so it stays
			t.Fatalf("the answer in use is gone after %d others", i)
		}
		if n := kept.answers.len(); n > maxAnswers {
			t.Fatalf("%d answers cached", n)
		}
	}
	if _, ok := kept.get(h.sum(byCookie, strconv.Itoa(3*maxAnswers-maxAnswers/2+1)), now); !ok {
		t.Error("a recent answer is gone")
	}
	if _, ok := kept.get(first, now.Add(time.Second)); ok {
		t.Error("an expired answer was returned")
	}
	if _, ok := kept.get(first, now); ok {
		t.Error("an expired answer is cached")
	}
	if h.sum(byBasic, "0") == first || newHasher().sum(byCookie, "0") == first {
		t.Error("a hash does not depend on the kind and the key")
	}

	// Invented names don't block other names, and the latest failures stay
	// counted.
	const maxNames = 1000
	l := newLockout(clock, maxNames)
	fail := func(name string) error {
		err := l.begin(name, false)
		if err == nil {
			l.failed(name)
		}
		return err
	}
	const madeUp = maxNames + maxNames/4
	for i := range madeUp {
		if err := fail("user" + strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := l.names.len(); n > maxNames {
		t.Errorf("%d names are counted", n)
	}
	recent := "user" + strconv.Itoa(madeUp-maxNames/2)
	if err := fail(recent); err != nil {
		t.Errorf("the second wrong password: %v", err)
	}
	if err := fail(recent); !errors.Is(err, ErrTooManyFailures) {
		t.Errorf("the third wrong password: %v", err)
	}
	if err := l.begin(recent, true); err != nil {
		t.Errorf("a recently accepted password: %v", err)
	}
	l.succeeded(recent)
	if err := fail(recent); err != nil {
		t.Errorf("after a right password: %v", err)
	}
	now = now.Add(failureTTL)
	if err := fail("one more"); err != nil || l.names.len() > 1 {
		t.Errorf("a week later: %v, %d names", err, l.names.len())
	}

	var k credentialMemory
	k.put("wilma", h.sum(byCookie, "wilma"), now.Add(knownTTL), now)
	for i := range 40 {
		k.put("fred", h.sum(byCookie, "fred"+strconv.Itoa(i)), now.Add(knownTTL), now)
	}
	for credential, want := range map[string]bool{"wilma": true, "fred39": true, "fred32": true, "fred31": false} {
		if _, ok := k.get(h.sum(byCookie, credential), now); ok != want {
			t.Errorf("%s is known: %v", credential, ok)
		}
	}
	if len(k.byHash) != 1+maxPerUser {
		t.Errorf("%d credentials of two users are known", len(k.byHash))
	}
	k.put("barney", h.sum(byCookie, "wilma"), now.Add(knownTTL), now)
	if user, _ := k.get(h.sum(byCookie, "wilma"), now); user != "barney" || len(k.byUser) != 2 {
		t.Errorf("a credential that changed its user belongs to %s", user)
	}
	for i := range 2 * maxKnown {
		k.put("user"+strconv.Itoa(i), h.sum(byCookie, strconv.Itoa(i)), now.Add(knownTTL), now)
	}
	if len(k.byUser) <= sweepTarget || len(k.byUser) > maxKnown || len(k.byHash) > maxKnown+maxPerUser {
		t.Errorf("%d users with %d credentials are known", len(k.byUser), len(k.byHash))
	}
	now = now.Add(knownTTL)
	for i := range maxKnown {
		k.put("late"+strconv.Itoa(i), h.sum(byCookie, "late"+strconv.Itoa(i)), now.Add(knownTTL), now)
	}
	if len(k.byUser) != maxKnown || len(k.byHash) != maxKnown {
		t.Errorf("%d users with %d credentials are known, none expired", len(k.byUser), len(k.byHash))
	}
	k.delete(h.sum(byCookie, "late0"))
	if _, ok := k.get(h.sum(byCookie, "late0"), now); ok || len(k.byUser) != maxKnown-1 {
		t.Error("a deleted credential is known")
	}
}

// Only the session cookie counts, because load balancers change their own
// cookies.
func TestSession(t *testing.T) {
	for header, want := range map[string]string{
		"JSESSIONID=a":                         "JSESSIONID=a",
		"AWSALB=1; JSESSIONID=a; x=y":          "JSESSIONID=a",
		"AWSALB=2; JSESSIONID=a":               "JSESSIONID=a",
		"JSESSIONID=a; JSESSIONID=b":           "JSESSIONID=a;JSESSIONID=b",
		"seraph.rememberme.cookie=c; AWSALB=1": "seraph.rememberme.cookie=c; AWSALB=1",
		"":                                     "",
		"=; ;":                                 "=; ;",
	} {
		if got := sessionOf(header, []string{"JSESSIONID"}); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}
