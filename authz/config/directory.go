package config

import "time"

// none is how the zero Directory stands in the file.
const none = "none"

const (
	minRefresh    = 10 * time.Second
	maxRefresh    = time.Hour
	maxStaleAfter = day
)

// Kind returns none, jira or file.
func (d Directory) Kind() string {
	switch {
	case d.Jira != JiraDirectory{}:
		return "jira"
	case d.File != "":
		return "file"
	}
	return none
}

// checkDirectory checks where users and groups are looked up.
func checkDirectory(d Directory, report reporter) {
	if d.Jira != (JiraDirectory{}) && d.File != "" {
		report("directory", "jira and file are given; give one")
	}
	if d.File != "" {
		if fault := pathError(d.File, "a file", "/etc/tokengate/users.yaml"); fault != "" {
			report("directory.file", "%s", fault)
		}
	}
	if d.Jira != (JiraDirectory{}) {
		checkJiraDirectory(d.Jira, report)
	}
}

func checkJiraDirectory(j JiraDirectory, report reporter) {
	if fault := pathError(j.Credential, "the file that holds the credential", "/etc/tokengate/jira"); fault != "" {
		report("directory.jira.credential", "%s", fault)
	}
	if j.Refresh < minRefresh || j.Refresh > maxRefresh {
		report("directory.jira.refresh", "%s: must be %s to %s", spell(j.Refresh), spell(minRefresh), spell(maxRefresh))
	} else if j.StaleAfter < 2*j.Refresh || j.StaleAfter > maxStaleAfter {
		report("directory.jira.staleAfter", "%s: must be %s (twice directory.jira.refresh) to %s",
			spell(j.StaleAfter), spell(2*j.Refresh), spell(maxStaleAfter))
	}
}

// zeroWord says that a directory of nothing is none.
func (Directory) zeroWord() string { return none }

// complete puts in the defaults.
func (j *JiraDirectory) complete(given func(key string) bool) {
	if !given("refresh") {
		j.Refresh = time.Minute
	}
	if !given("staleAfter") {
		j.StaleAfter = 15 * time.Minute
	}
}

// MarshalYAML returns none, or the one key that is set.
func (d Directory) MarshalYAML() (any, error) {
	switch d.Kind() {
	case "jira":
		return map[string]JiraDirectory{"jira": d.Jira}, nil
	case "file":
		return map[string]string{"file": d.File}, nil
	}
	return none, nil
}
