package main

import (
	"strings"

	"github.com/tokengate/tokengate/authz/manage"
)

// listing is the query of a request for the list of all tokens.
type listing string

// listings are those that are measured: each filter alone, some together, and
// each order from both ends. A filter that selects much costs more than one that
// selects little; where a text can be rare or common, it is both. id is a token's.
func listings(id string) []listing {
	all := []listing{
		"",
		"limit=1000",
		"user=user00042",
		"userPart=42",
		"userPart=user",
		"name=2424",
		"name=Report",
		listing("id=" + id),
		"type=ordinary",
		"type=management",
		"scope=read",
		"scope=write",
		"createdFrom=2026-01-01",
		"createdUntil=2026-04-01",
		"usedFrom=2026-05-02",
		"usedUntil=2026-05-20",
		"expiresFrom=2098-06-01",
		"expiresUntil=2099-06-01",
		"neverExpires=true",
		"neverUsed=true",
		"unusedSince=14d",
		"expiringWithin=26600d",
	}
	for _, state := range manage.States {
		all = append(all, listing("state="+state))
	}
	for _, column := range []listing{"created", "user", "name", "expires", "used", "uses"} {
		all = append(all, "sort="+column+"&order=asc", "sort="+column+"&order=desc")
	}
	return append(all,
		"state=pending&userPart=user0&sort=created&order=desc",
		"state=active&neverUsed=true&sort=user",
		"state=active&unusedSince=14d&sort=used",
		"expiresUntil=2099-06-01&scope=write&sort=expires",
		"name=report&userPart=user&sort=name&order=desc",
		"userPart=user&name=report&scope=write&state=active&usedFrom=2026-04-02&sort=name&limit=1000",
	)
}

// name is what the table calls the listing: its parameters.
func (l listing) name() string {
	if l == "" {
		return "none"
	}
	return strings.ReplaceAll(string(l), "&", " ")
}
