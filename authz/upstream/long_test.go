//go:build long

package upstream_test

import (
	"errors"
	"testing"

	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/upstream"
	"github.com/tokengate/tokengate/store/etcd/etcdtest"
)

func init() { rounds = 20 }

// TestBusy lets a server wait in vain for another one that connects the user.
func TestBusy(t *testing.T) {
	a, b := newServers(t, etcdtest.Start(t, etcdtest.Options{}))
	login := a.session()
	asked, answer := make(chan struct{}), make(chan struct{})
	a.minting(func(product.CredentialClient) error {
		close(asked)
		<-answer
		return nil
	})
	connected := make(chan error)
	go func() { connected <- a.connect(login, false) }()
	<-asked
	if err := b.connect(login, false); !errors.Is(err, upstream.ErrBusy) {
		t.Errorf("error %v", err)
	}
	close(answer)
	if err := <-connected; err != nil {
		t.Error(err)
	}
	a.wantPATs("connected", first, "active")
}
