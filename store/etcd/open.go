package etcd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tokengate/tokengate/store"
	"github.com/tokengate/tokengate/store/etcd/freshness"
)

// ErrSchema means that the keys below the prefix were written by an incompatible version of tokengate, or by
// another program.
var ErrSchema = errors.New("the keys in etcd have another schema")

// schema is the version of the key layout and of the records' meaning.
const schema = "1"

// incompleteSchema is the schema during an Import.
const incompleteSchema = "incomplete"

// Open opens the store below the prefix, and begins one if there is none. It waits for etcd until ctx
// ends: see store.Config. AcceptLoss has no effect.
func (c *Config) Open(ctx context.Context, o store.OpenOptions) (store.Opened, error) {
	s, isNew, err := c.open(ctx, o, freshness.System)
	if err != nil {
		return store.Opened{}, fmt.Errorf("open store: %w", err)
	}
	return store.Opened{Store: s, New: isNew, UsageEvery: usageEvery}, nil
}

func (c *Config) open(ctx context.Context, o store.OpenOptions, clock freshness.Clock) (*Store, bool, error) {
	settings := clientv3.Config{
		Endpoints:            c.Endpoints,
		Username:             c.User,
		DialKeepAliveTime:    10 * time.Second, // the shortest that gRPC allows
		DialKeepAliveTimeout: 5 * time.Second,
		DialTimeout:          c.Timeout,
		MaxCallSendMsgSize:   2 << 20,
		Logger:               zap.NewNop(), // its lines may contain requests
	}
	var err error
	if c.PasswordFile != "" {
		if settings.Password, err = readPassword(c.PasswordFile); err != nil {
			return nil, false, err
		}
	}
	if strings.HasPrefix(c.Endpoints[0], "https:") {
		if settings.TLS, err = c.TLS.load(); err != nil {
			return nil, false, err
		}
		if c.TLS.ServerName != "" { // the client would replace that in settings.TLS by the endpoint's host
			settings.DialOptions = append(settings.DialOptions, grpc.WithAuthority(c.TLS.ServerName))
		}
	}
	s := &Store{prefix: c.Prefix, probe: healthPrefix + rand.Text(), timeout: c.Timeout, compareEvery: c.CompareEvery, log: o.Log, clock: clock, ownBusy: make(chan struct{}, 1)}
	s.closing, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for waits := 0; ; waits++ {
		isNew, err := s.connect(ctx, settings, o.Existing)
		if err == nil {
			return s, isNew, nil
		}
		if ctx.Err() != nil || !isTemporary(err) {
			s.cancel()
			return nil, false, err
		}
		if waits%waitsPerLine == 0 {
			s.line(slog.LevelWarn, "waiting for etcd: %v", err)
		}
		timer := time.NewTimer(openAgainAfter)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// usageEvery bounds what usage costs: each time, whole blocks are read and written.
const usageEvery = 10 * time.Second

// openAgainAfter is the pause between two attempts to open the store. One of waitsPerLine is logged.
const (
	openAgainAfter = time.Second
	waitsPerLine   = 10
)

// isTemporary reports whether an error may end without a change of the configuration.
func isTemporary(err error) bool {
	if errors.Is(err, rpctypes.ErrAuthFailed) || errors.Is(err, rpctypes.ErrAuthNotEnabled) {
		return false
	}
	var known rpctypes.EtcdError
	if errors.As(err, &known) {
		return known.Code() == codes.Unavailable
	}
	return errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.Unavailable
}

// connect makes the client and reads or writes the schema. With a user, the client logs in at once.
func (s *Store) connect(ctx context.Context, settings clientv3.Config, existing bool) (isNew bool, err error) {
	client, err := clientv3.New(settings)
	if err != nil {
		return false, fmt.Errorf("etcd: %w", err)
	}
	s.client = client
	op := &operation{Store: s, Context: ctx, reads: ctx}
	if isNew, err = op.checkSchema(existing); err == nil {
		err = op.loadSequence()
	}
	if err != nil {
		client.Close()
		return false, err
	}
	return isNew, nil
}

// checkSchema refuses keys of another schema, and writes the schema if there are no keys, unless the store must exist.
func (op *operation) checkSchema(existing bool) (isNew bool, err error) {
	for range 2 {
		results, _, err := op.read(op.get(schemaKey), op.get("", clientv3.WithPrefix(), clientv3.WithCountOnly()))
		if err != nil {
			return false, err
		}
		var found []byte
		if len(results[0].Kvs) > 0 {
			found = notNil(results[0].Kvs[0].Value)
		}
		switch {
		case string(found) == incompleteSchema:
			return false, fmt.Errorf("%w; remove all keys that begin with %q and begin again", store.ErrIncomplete, op.prefix)
		case found != nil && string(found) != schema:
			return false, fmt.Errorf("%w: those that begin with %q have version %.20q, and this version of tokengate knows %s",
				ErrSchema, op.prefix, found, schema)
		case found != nil:
			return isNew, nil
		case results[1].Count > 0:
			return false, fmt.Errorf("%w: there are %d keys that begin with %q, without a version; is it the prefix of another program?",
				ErrSchema, results[1].Count, op.prefix)
		case existing:
			return false, fmt.Errorf("%w: no key begins with %q", store.ErrNoStore, op.prefix)
		}
		resp, err := op.commitOnce([]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(op.prefix+schemaKey), "=", 0)},
			[]clientv3.Op{op.put(schemaKey, []byte(schema))}, nil)
		if err != nil {
			return false, err
		}
		isNew = resp.Succeeded
	}
	return isNew, nil
}

// loadSequence reads what is added to the sequences of audit records. It is raised if the newest record has a
// higher one than etcd's revision gives, because the records came from another store.
func (op *operation) loadSequence() error {
	_, err := op.write(func(t *tx) error {
		found, err := t.read(sequenceKey)
		if err != nil {
			return err
		}
		op.sequence = 0
		if found[0] != nil {
			if op.sequence, err = parseDecimal(sequenceKey, found[0].Value); err != nil {
				return err
			}
		}
		results, _, err := op.read(op.get(auditPrefix, clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithRev(t.revision)))
		if err != nil || len(results[0].Kvs) == 0 {
			return err
		}
		newest, err := op.decodeAudit(results[0].Kvs[0])
		if err != nil {
			return err
		}
		if own := op.sequence + uint64(t.revision)*sequenceSlots; newest.Sequence >= own {
			op.sequence += newest.Sequence - own + sequenceSlots
			t.put(sequenceKey, []byte(decimal(op.sequence)))
		}
		return nil
	})
	return err
}
