package config

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/tokengate/tokengate/authz/product"
	"github.com/tokengate/tokengate/authz/product/jira"
)

// Products are the applications that upstream.product may name. Tests may add
// to it; nothing else changes it.
var Products = map[string]*product.Product{
	jira.Product.Name: &jira.Product,
}

// defaultProduct is the product of a file that names none.
var defaultProduct = &jira.Product

// product returns the application, or the default product if its name is unknown.
func (u Upstream) product() *product.Product { return cmp.Or(Products[u.Product], defaultProduct) }

// productNames returns the known products for a message.
func productNames() string { return strings.Join(slices.Sorted(maps.Keys(Products)), ", ") }

// productOf returns the product that a file names, whose defaults apply to the
// file. Without a known name it is the default product.
func productOf(root ast.Node) *product.Product {
	name, _ := textOf(valueOf(valueOf(root, "upstream"), "product"))
	return Upstream{Product: name}.product()
}

// valueOf returns the value of a mapping's key, or nil.
func valueOf(n ast.Node, key string) ast.Node {
	if m, ok := n.(*ast.MappingNode); ok {
		for _, pair := range m.Values {
			if nameOf(pair.Key) == key {
				return pair.Value
			}
		}
	}
	return nil
}
