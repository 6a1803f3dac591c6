package app

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/store"
)

// maintenanceRole is the role of the server that removes old records: see store.Coordinator.
const maintenanceRole = "maintenance"

// roles takes roles, and shows in a metric which ones this server has.
type roles struct {
	store.Coordinator
	held *prometheus.GaugeVec
}

func newRoles(of store.Coordinator, metrics prometheus.Registerer) *roles {
	r := &roles{of, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "tokengate_role",
		Help: "1 if this server had the role when it last tried to take it: directory, the one that asks for users, or maintenance, the one that removes old records.",
	}, []string{"role"})}
	r.set(directory.Role, false)
	r.set(maintenanceRole, false)
	metrics.MustRegister(r.held)
	return r
}

func (r *roles) set(role string, held bool) {
	value := 0.0
	if held {
		value = 1
	}
	r.held.WithLabelValues(role).Set(value)
}

// Hold takes a role: see store.Coordinator.
func (r *roles) Hold(ctx context.Context, role string) (bool, error) {
	held, err := r.Coordinator.Hold(ctx, role)
	r.set(role, held)
	return held, err
}

// Release gives up a role: see store.Coordinator.
func (r *roles) Release(ctx context.Context, role string) error {
	r.set(role, false)
	return r.Coordinator.Release(ctx, role)
}
