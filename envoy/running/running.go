// Package running compares the configuration that a running Envoy reports with what
// envoy.Bootstrap generates, by what it means for requests and not by its text. Start with
// Read and Compare.
package running

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/tokengate/tokengate/authz/config"
	"github.com/tokengate/tokengate/envoy"
)

// Configuration is the part of an Envoy's configuration that says what happens to
// requests.
type Configuration struct {
	Version  string // of Envoy, such as 1.40.0; empty: unknown
	LogLevel string // with which Envoy was started, such as info; empty: unknown

	listeners []*listenerv3.Listener
	clusters  []*clusterv3.Cluster
	routes    []*routev3.RouteConfiguration // those that listeners only name
}

const (
	answerTime = 10 * time.Second // of Envoy's administration
	maxAnswer  = 64 << 20         // bytes
)

// Read asks the Envoy whose administration listens on the unix socket at this path.
func Read(ctx context.Context, socket string) (*Configuration, error) {
	client := &http.Client{Timeout: answerTime, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	get := func(path string) ([]byte, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://envoy"+path, nil)
		if err != nil {
			return nil, err
		}
		response, err := client.Do(request)
		if err != nil {
			return nil, err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("it answered %s to %s", response.Status, path)
		}
		return io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	}
	dump, err := get("/config_dump")
	if err != nil {
		return nil, fmt.Errorf("ask Envoy for its configuration: %w", err)
	}
	c, err := ParseDump(dump)
	if err != nil {
		return nil, err
	}
	info, err := get("/server_info")
	if err != nil {
		return nil, fmt.Errorf("ask Envoy for its version: %w", err)
	}
	var about struct {
		Version string `json:"version"` // commit/version/…
		Options struct {
			LogLevel string `json:"log_level"`
		} `json:"command_line_options"`
	}
	if err := json.Unmarshal(info, &about); err != nil {
		return nil, fmt.Errorf("read Envoy's version: %w", err)
	}
	if parts := strings.Split(about.Version, "/"); len(parts) > 1 {
		c.Version = parts[1]
	}
	c.LogLevel = about.Options.LogLevel
	return c, nil
}

// ParseDump reads the answer to GET /config_dump.
func ParseDump(dump []byte) (*Configuration, error) {
	var answer struct {
		Configs []struct {
			StaticListeners []struct {
				Listener json.RawMessage `json:"listener"`
			} `json:"static_listeners"`
			DynamicListeners []struct {
				Active struct {
					Listener json.RawMessage `json:"listener"`
				} `json:"active_state"`
			} `json:"dynamic_listeners"`
			StaticClusters []struct {
				Cluster json.RawMessage `json:"cluster"`
			} `json:"static_clusters"`
			DynamicClusters []struct {
				Cluster json.RawMessage `json:"cluster"`
			} `json:"dynamic_active_clusters"`
			StaticRoutes []struct {
				Routes json.RawMessage `json:"route_config"`
			} `json:"static_route_configs"`
			DynamicRoutes []struct {
				Routes json.RawMessage `json:"route_config"`
			} `json:"dynamic_route_configs"`
		} `json:"configs"`
	}
	if err := json.Unmarshal(dump, &answer); err != nil {
		return nil, fmt.Errorf("read Envoy's configuration: %w", err)
	}
	d := new(decoder)
	c := new(Configuration)
	for _, part := range answer.Configs {
		for _, l := range part.StaticListeners {
			c.listeners = append(c.listeners, into(d, l.Listener, new(listenerv3.Listener)))
		}
		for _, l := range part.DynamicListeners {
			if len(l.Active.Listener) > 0 {
				c.listeners = append(c.listeners, into(d, l.Active.Listener, new(listenerv3.Listener)))
			}
		}
		for _, cl := range append(part.StaticClusters, part.DynamicClusters...) {
			c.clusters = append(c.clusters, into(d, cl.Cluster, new(clusterv3.Cluster)))
		}
		for _, r := range append(part.StaticRoutes, part.DynamicRoutes...) {
			c.routes = append(c.routes, into(d, r.Routes, new(routev3.RouteConfiguration)))
		}
	}
	if d.err != nil {
		return nil, fmt.Errorf("read Envoy's configuration: %w", d.err)
	}
	return c, nil
}

// AnyHost is the BootstrapOptions.Host of a generated configuration for a host that is
// unknown: Compare then compares only its port.
const AnyHost = "any.tokengate.invalid"

// Generated returns what envoy.Bootstrap generates for a valid configuration.
func Generated(cfg config.Config, options envoy.BootstrapOptions) (*Configuration, error) {
	var text bytes.Buffer
	if err := envoy.Bootstrap(&text, cfg, options); err != nil {
		return nil, err
	}
	return parseBootstrap(text.Bytes())
}

func parseBootstrap(text []byte) (*Configuration, error) {
	tree, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, fmt.Errorf("read the generated configuration: %w", err)
	}
	var bootstrap struct {
		Static struct {
			Listeners []json.RawMessage `json:"listeners"`
			Clusters  []json.RawMessage `json:"clusters"`
		} `json:"static_resources"`
	}
	if err := json.Unmarshal(tree, &bootstrap); err != nil {
		return nil, fmt.Errorf("read the generated configuration: %w", err)
	}
	d, c := new(decoder), new(Configuration)
	for _, l := range bootstrap.Static.Listeners {
		c.listeners = append(c.listeners, into(d, l, new(listenerv3.Listener)))
	}
	for _, cl := range bootstrap.Static.Clusters {
		c.clusters = append(c.clusters, into(d, cl, new(clusterv3.Cluster)))
	}
	if d.err != nil {
		return nil, fmt.Errorf("read the generated configuration: %w", d.err)
	}
	return c, nil
}

// decoder decodes parts of a configuration. err is the first error.
type decoder struct{ err error }

// into decodes text into m, and returns m. Fields that this version does not know are
// left out; a message of an unknown type is kept as a Struct with its type.
func into[M proto.Message](d *decoder, text json.RawMessage, m M) M {
	var tree any
	err := json.Unmarshal(text, &tree)
	if err == nil {
		tree = withKnownTypes(tree)
		text, err = json.Marshal(tree)
	}
	if err == nil {
		err = protojson.UnmarshalOptions{DiscardUnknown: true, AllowPartial: true}.Unmarshal(text, m)
	}
	if err != nil && d.err == nil {
		d.err = err
	}
	return m
}

const structType = "type.googleapis.com/google.protobuf.Struct"

// withKnownTypes replaces every message of a type that is not compiled in by a Struct,
// because protojson refuses unknown types.
func withKnownTypes(tree any) any {
	switch node := tree.(type) {
	case []any:
		for i := range node {
			node[i] = withKnownTypes(node[i])
		}
	case map[string]any:
		kind, typed := node["@type"].(string)
		for key := range node {
			node[key] = withKnownTypes(node[key])
		}
		name := protoreflect.FullName(kind[strings.LastIndexByte(kind, '/')+1:])
		if _, err := protoregistry.GlobalTypes.FindMessageByName(name); typed && err != nil {
			return map[string]any{"@type": structType, "value": node}
		}
	}
	return tree
}
