package envoy

import (
	"fmt"
	"net"
	"path/filepath"

	"github.com/tokengate/tokengate/authz/config"
)

// clusters are Envoy's clusters of a listener of tokengate.
type clusters struct {
	Name    string    // that Envoy sends requests to
	Members []cluster // one with this name, or those of which it consists
}

// cluster is a cluster of tokengate servers.
type cluster struct {
	Cluster string // its name
	Replica bool   // it has the servers of listen.replicas
	endpoint
}

// ConnectTimeout is short for replicas, so that one that is gone costs little of the time
// that Envoy waits for an answer.
func (c cluster) ConnectTimeout() string {
	switch {
	case c.Replica:
		return "0.5s"
	case c.CA != "":
		return "1s"
	}
	return "0.25s"
}

// newClusters returns the clusters of a listener.
func newClusters(name, protocol string, own, replicas config.Listener, host string, opts BootstrapOptions) (clusters, error) {
	at, err := listenEndpoint(own, protocol, opts)
	if err != nil || host == "" {
		return clusters{name, []cluster{{Cluster: name, endpoint: at}}}, err
	}
	_, port, err := net.SplitHostPort(replicas.Address.Address)
	if err != nil {
		return clusters{}, fmt.Errorf("listen.replicas: %w", err)
	}
	others, err := hostPort(host, port)
	if err != nil {
		return clusters{}, fmt.Errorf("listen.replicas: %w", err)
	}
	secrets, err := opts.secrets()
	others.Protocol, others.CA, others.Certificate = protocol, filepath.Join(secrets, replicasCA), filepath.Join(secrets, replicasClient)
	return clusters{name, []cluster{{Cluster: name + "-own", endpoint: at}, {name + "-replicas", true, others}}}, err
}

// managementRoute is a route of tokengate's API or page.
type managementRoute struct {
	Path    string
	Methods string // a regular expression; "" is all
	RetryOn string // "" is no retry
	Why     string
}

func managementRoutes(paths []string, replicas bool) (routes []managementRoute) {
	for _, path := range paths {
		if !replicas {
			routes = append(routes, managementRoute{Path: path})
			continue
		}
		routes = append(routes,
			managementRoute{path, "GET|HEAD", "connect-failure,reset", "These can be repeated."},
			managementRoute{path, "", "connect-failure,reset-before-request", "These are repeated only if no tokengate has received them."})
	}
	return routes
}
