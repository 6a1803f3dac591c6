package page

import (
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/manage"
)

// A used nonce is never valid again, even once its use is deleted; nor are older ones.
func TestUsedNoncesAreDeleted(t *testing.T) {
	now := noon
	n := newNonces(func() time.Time { return now })
	c := manage.User(directory.User{Name: "fred", Active: true}, "192.0.2.7")
	old := n.make(c, "new")
	now = now.Add(time.Second)
	used := n.make(c, "new")
	if o, _ := n.use(used, c, "new"); o != fresh {
		t.Fatalf("a valid nonce is %v", o)
	}
	n.record(used, "abc")
	if o, token := n.use(used, c, "new"); o != replayed || token != "abc" {
		t.Fatalf("a used nonce is %v with the token %q", o, token)
	}
	for range maxNonces {
		now = now.Add(time.Millisecond)
		if o, _ := n.use(n.make(c, "new"), c, "new"); o != fresh {
			t.Fatalf("a valid nonce is %v", o)
		}
	}
	if len(n.used) > maxNonces {
		t.Errorf("%d used nonces are stored", len(n.used))
	}
	for name, nonce := range map[string]string{"the used one": used, "an older one": old} {
		if o, _ := n.use(nonce, c, "new"); o != invalid {
			t.Errorf("%s is %v after its deletion", name, o)
		}
	}
	n.record("no such", "x") // has no effect
	written := n.make(c, "new")
	for _, other := range []string{written + "\n", written[:3] + "\r\n" + written[3:], written + "="} {
		n.use(written, c, "new")
		if o, _ := n.use(other, c, "new"); o == fresh {
			t.Errorf("%q is valid again", other)
		}
	}
	if proof := n.seal(c, "a", "b"); !n.sealed(proof, c, "a", "b") || n.sealed(proof, c, "a", "c") || n.sealed(proof, c, "ab") || n.sealed(proof, c, "a", "b", "") || n.sealed("", c) {
		t.Error("a proof is valid for something else")
	}
	ahead := n.make(c, "new")
	now = now.Add(-time.Minute)
	if o, _ := n.use(ahead, c, "new"); o != invalid {
		t.Errorf("a nonce from the future is %v", o)
	}
}
