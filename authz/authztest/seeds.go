// Package authztest has requests with which tests begin: seeds of fuzz tests, which other tests
// send through a real Envoy. value is the text of a token.
package authztest

import (
	"encoding/base64"
	"strings"
)

// Authorizations returns values of the header Authorization.
func Authorizations(value string) []string {
	basic := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	return []string{
		"", " ", "\t", "Basic", "Basic ", "basic  ", "BASIC " + basic("fred:pw"), "\tbasic " + basic("fred:pw") + " ",
		"Basic " + basic(":"), "Basic " + basic("fred"), "Basic " + basic("fred:a:b"), "Basic ZnJlZDpwdx==", "Basic ZnJlZDpwdw",
		"Basic ZnJl\r\nZDpw", "Basic ZnJlZDpw,Basic ZnJlZDpw", "Basic\tZnJlZDpw", "Basic,ZnJlZDpw", "Basic\u00a0ZnJlZDpw", "Ba\u017fic ZnJlZDpw",
		"Basic " + basic("fred:"+value), "Basic " + basic("fred:x"+value), "Basic " + basic(value+":x"), "Basic " + basic("fred:tgadm_"),
		"Bearer", "Bearer abc", "Bearer  abc", "Bearer a,b", "bEARER " + value, "Bearer x" + value, "Bearer tgate_",
		value, "Token " + value, "Token tgadm_", "Negotiate x, Basic ZnJlZDpw", "OAuth a=\"" + value + "\"", "Digest a=b, c=\"d\"", ",bearer x", "a,b,basic x",
	}
}

// Queries returns queries without their question mark.
func Queries(value string) []string {
	return []string{
		"", "&", "=", "&&=&", "a=1&b=2", "os_username=fred&os_password=pw", "os%5Fusername=fr%65d", "%6fs_password", "os_passwor%64=a&os_username", "os+password=a",
		"os_username=a&os_username=b", "OS_username=a", "os_%zz=a", "os_authType=basic&x", "os%5fauthType=none", "os_", "os%5f", "xos_a", "?os_username=a", "a;os_username=b", "a=os_password",
		"access_token=" + value, "access_token=tgate_", "access_token=%74gadm_&a", "access_token=abc", "access%5ftoken=abc", "access_token=" + value + "&access_token=" + value, "access_token",
		"a=" + value, value, value + "=", "a=x" + strings.Replace(value, "_", "%5f", 1), "_method=PUT", "%5Fmethod=PUT&a==b", "%", "%4", "%%34", "os_username=+%2B%4g%g4%zz%:0%0:%/0%0/%@a%a@%Ga%ag%`a%a`%ga%aG%AF%fa%09%90",
		"=" + value, "=tgate_a&os_a", "b=tgate_a&access_token=tgate_a&access_token=b&xos_b&os_a", "a=%C3%A9\xff",
	}
}

// SessionPaths are paths like that at which clients log in to a session.
var SessionPaths = []string{
	"/rest/auth/1/session", "/jira/rest/auth/latest/session.json", "/rest/auth/1/session/.json", "/rest/auth/1/x/../session", "/rest/auth/1/session/x/..",
	"/rest/auth/1/%73ession", "/rest%2fauth%5c1%2Fsession", "/rest/auth/1/..%2f2/session;x=y/./", "/..;a/rest/auth/1/session", "/rest/auth/session", "/a/b/c/rest/auth/1/session/../../1/session",
	"/rest/auth/1/session/..", "/session/rest/auth/1/.session", "//rest//auth//1//session//", "/rest/auth/../auth/1/session", "/rest/auth/1/session/%2e%2e/session",
}

// Request is a request without a credential in the header Authorization.
type Request struct{ Method, Target, UserAgent, Origin string }

// Requests returns requests that browsers send, and some that could hide a credential.
func Requests(value string) []Request {
	all := []Request{
		{"TRACE", "/", "", ""},
		{"POST", "/rest/auth/1/session", "x " + value, "https://jira.example.com"},
		{"GET", "/", "tgate_", "null"},
		{"GET", "/", "", "https://" + value},
		{"GET", "/", value + "\n", "\n"},
	}
	for _, target := range []string{
		"/", "/browse/A-1", "/rest/api/2/search?jql=project%20%3D%20A&x=1", "/rest/auth/1/session", "/rest/auth/1/s%65ssion?", "/?os_username=a", "/?os%5Fusername=a",
		"/?access_token=" + value, "/?a=" + value, "/?a=" + strings.ReplaceAll(value, "_", "%5F"), "/?a=tg%2561te_" + value[6:], "/" + value, "/a;b", "/?a=dGdhdGVf" + value,
		"/?a=%zz%", "/?&&=&a", "/?" + value + "=", "//", "/a/../b", "/rest/api-tokens/latest/own", "/?a=%2B%2f", "/?a=%ff", "/x%2ex", "/?a%20b=1",
	} {
		all = append(all, Request{Method: "GET", Target: target})
	}
	return all
}
