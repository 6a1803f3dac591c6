package identify

import (
	"strconv"
	"testing"
	"time"
)

// State that clients can grow is bounded.
func TestMemoryIsBounded(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

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

	var k credentialMemory
	k.put(h.sum(byCookie, "wilma"), knownCredential{user: "wilma", until: now.Add(knownTTL)}, now)
	for i := range 40 {
		k.put(h.sum(byCookie, "fred"+strconv.Itoa(i)), knownCredential{user: "fred", until: now.Add(knownTTL)}, now)
	}
	for credential, want := range map[string]bool{"wilma": true, "fred39": true, "fred32": true, "fred31": false} {
		if _, ok := k.get(h.sum(byCookie, credential), now); ok != want {
			t.Errorf("%s is known: %v", credential, ok)
		}
	}
	if len(k.byHash) != 1+maxPerUser {
		t.Errorf("%d credentials of two users are known", len(k.byHash))
	}
	k.put(h.sum(byCookie, "wilma"), knownCredential{user: "barney", until: now.Add(knownTTL)}, now)
	if c, _ := k.get(h.sum(byCookie, "wilma"), now); c.user != "barney" || len(k.byUser) != 2 {
		t.Errorf("a credential that changed its user belongs to %s", c.user)
	}
	for i := range 2 * maxKnown {
		k.put(h.sum(byCookie, strconv.Itoa(i)), knownCredential{user: "user" + strconv.Itoa(i), until: now.Add(knownTTL)}, now)
	}
	if len(k.byUser) <= sweepTarget || len(k.byUser) > maxKnown || len(k.byHash) > maxKnown+maxPerUser {
		t.Errorf("%d users with %d credentials are known", len(k.byUser), len(k.byHash))
	}
	now = now.Add(knownTTL)
	for i := range maxKnown {
		k.put(h.sum(byCookie, "late"+strconv.Itoa(i)), knownCredential{user: "late" + strconv.Itoa(i), until: now.Add(knownTTL)}, now)
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
