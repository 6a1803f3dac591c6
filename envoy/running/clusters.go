package running

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
)

// clustersAt returns the names of the clusters with one of these addresses.
func (c *Configuration) clustersAt(addresses []string) (names []string) {
	for _, cl := range c.clusters {
		if slices.ContainsFunc(addressesOf(cl), func(a string) bool { return slices.Contains(addresses, a) }) {
			names = append(names, cl.GetName())
		}
	}
	return names
}

// cluster returns the cluster with this name, or nil.
func (c *Configuration) cluster(name string) *clusterv3.Cluster {
	i := slices.IndexFunc(c.clusters, func(cl *clusterv3.Cluster) bool { return cl.GetName() == name })
	if i < 0 {
		return nil
	}
	return c.clusters[i]
}

// addressesOf returns host:port or the paths of a cluster's servers.
func addressesOf(c *clusterv3.Cluster) (addresses []string) {
	for _, locality := range c.GetLoadAssignment().GetEndpoints() {
		for _, e := range locality.GetLbEndpoints() {
			addresses = append(addresses, addressOf(e.GetEndpoint().GetAddress()))
		}
	}
	return addresses
}

func addressOf(a *corev3.Address) string {
	if path := a.GetPipe().GetPath(); path != "" {
		return path
	}
	s := a.GetSocketAddress()
	return net.JoinHostPort(s.GetAddress(), strconv.FormatUint(uint64(s.GetPortValue()), 10))
}

// servers returns the sorted addresses of a cluster's servers, or of those that an
// aggregate names.
func (c *Configuration) servers(name string) (addresses []string) {
	cl := c.cluster(name)
	all := new(aggregatev3.ClusterConfig)
	if cl.GetClusterType().GetTypedConfig().UnmarshalTo(all) == nil {
		for _, member := range all.GetClusters() {
			addresses = append(addresses, addressesOf(c.cluster(member))...)
		}
	} else {
		addresses = addressesOf(cl)
	}
	slices.Sort(addresses)
	return addresses
}

// otherServers returns what is wrong if a cluster has other servers than the generated
// one, or "".
func otherServers(want, got *gate, wanted, used string) string {
	w, g := want.clusters.servers(wanted), got.clusters.servers(used)
	same := func(w, g string) bool {
		port, any := strings.CutPrefix(w, net.JoinHostPort(AnyHost, ""))
		return w == g || any && strings.HasSuffix(g, ":"+port)
	}
	missing := slices.ContainsFunc(w, func(w string) bool { return !slices.ContainsFunc(g, func(g string) bool { return same(w, g) }) })
	others := slices.ContainsFunc(g, func(g string) bool { return !slices.ContainsFunc(w, func(w string) bool { return same(w, g) }) })
	if !missing && !others {
		return ""
	}
	return fmt.Sprintf("the cluster %q, whose servers are [%s]; tokengate's are [%s]", used, strings.Join(g, ", "), strings.ReplaceAll(strings.Join(w, ", "), AnyHost, "any host"))
}
