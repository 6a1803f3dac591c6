package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// findPAT says in what form a text holds a user's personal access token; "" if it holds none.
func (c *connected) findPAT(text string) string {
	for user, pat := range c.pats {
		if found := findPAT(pat, text); found != "" {
			return user + "'s " + found
		}
	}
	return ""
}

// findPAT says in what form a text holds a personal access token, which is base64 of an id and a secret.
func findPAT(pat, text string) string {
	half := len(pat) / 2
	if strings.Contains(text, pat[:half]) || strings.Contains(text, pat[half:]) {
		return "personal access token, or half of it"
	}
	for _, form := range base64Forms(pat) {
		if strings.Contains(text, form) {
			return "personal access token in base64"
		}
	}
	if decoded, err := base64.RawStdEncoding.DecodeString(pat); err == nil && strings.Contains(text, string(decoded)) {
		return "personal access token, decoded"
	}
	return ""
}

// The search finds what it is for.
func TestFindPAT(t *testing.T) {
	const pat = "MDAwMDAwMDAwMDQyOpVXpS7p0cQfJ8NwHk2Zb1TtYvEx"
	decoded, err := base64.RawStdEncoding.DecodeString(pat)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"value": "Bearer " + pat, "first half": pat[:22], "second half": pat[22:],
		"Basic": basic("fred", pat), "another name": basic("ab", pat), "decoded": string(decoded),
	} {
		if findPAT(pat, "{"+text+"}") == "" {
			t.Errorf("%s: not found", name)
		}
	}
	if found := findPAT(pat, "Bearer "+pat[:21]+"…"); found != "" {
		t.Errorf("found a %s where there is none", found)
	}
}

// searchPATs fails if a personal access token is in the log, in the metrics, in the output of a command, in
// Envoy's logs or its administration interface, or in a file. Answers are searched as they come.
func (c *connected) searchPATs() {
	c.t.Helper()
	_, metrics := c.probe("/metrics")
	places := map[string]string{
		"the log": c.gate.log.String(), "the metrics": metrics, "Envoy's access log": c.envoy.Output(), "Envoy's log": c.envoy.Log(),
	}
	for _, path := range []string{"/config_dump?include_eds", "/stats", "/stats/prometheus", "/clusters", "/listeners", "/server_info", "/certs", "/runtime"} {
		places["Envoy's "+path] = string(c.envoy.Admin(path))
	}
	for _, args := range [][]string{
		{"upstream", "list", "--output", "json", "--admin-socket", c.dir + "/a"}, {"audit", "--output", "json"}, {"token", "list", "--output", "json"}, {"settings"}, {"totals"},
	} {
		stdout, stderr := c.run(args...)
		places["tokengate "+args[0]] = stdout + stderr
	}
	files := 0
	err := filepath.WalkDir(c.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		places[strings.TrimPrefix(path, c.dir)] = string(data)
		files++
		return err
	})
	if err != nil || files < 3 {
		c.t.Fatalf("%d files were searched: %v", files, err)
	}
	for place, text := range places {
		if found := c.findPAT(text); found != "" {
			c.t.Errorf("%s: %s", place, found)
		}
		if text == "" && place != "Envoy's /certs" {
			c.t.Logf("%s is empty", place)
		}
	}
}
