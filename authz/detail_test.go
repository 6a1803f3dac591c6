package authz_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
)

// detailCases are the details of denials, by common mistakes with credentials.
func detailCases() []decisionCase {
	malformed := func(detail authz.Detail, name, authorization string) decisionCase {
		return decisionCase{name: name, authorization: authorization, reason: authz.MalformedCredential, detail: detail}
	}
	token := func(detail authz.Detail, name, authorization string) decisionCase {
		return decisionCase{name: name, authorization: authorization, reason: authz.MalformedToken, detail: detail}
	}
	path := func(detail authz.Detail, path string) decisionCase {
		return decisionCase{name: path, authorization: "Bearer {fred}", path: path, reason: authz.AmbiguousPath, detail: detail, user: "Fred"}
	}
	login := func(name, body string) decisionCase {
		return decisionCase{name: "login: " + name, method: "POST", path: "/rest/auth/1/session", body: body, reason: authz.MalformedCredential, detail: authz.TokenInLogin}
	}
	query := func(detail authz.Detail, query string) decisionCase {
		return decisionCase{name: query, path: "/rest/x?" + query, reason: authz.MalformedCredential, detail: detail}
	}
	return []decisionCase{
		malformed(authz.NoBase64, "Basic alone", "Basic"),
		malformed(authz.NoBase64, "Basic with nothing but spaces", "Basic   "),
		malformed(authz.NoBase64, "a tab behind Basic", "Basic\tZnJlZDpw"),
		malformed(authz.NoBase64, "the user name and password as they are", "Basic fred:pw"),
		malformed(authz.NoBase64, "the user name and token as they are", "Basic fred:{fred}"),
		malformed(authz.NoBase64, "a padding too few", "Basic ZnJlZDpwdw="),
		malformed(authz.BrokenBase64, "base64 of two lines, joined by a space", "Basic ZnJl ZDpw"),
		malformed(authz.BrokenBase64, "base64 of two lines", "Basic ZnJl\n ZDpw"),
		malformed(authz.NoColon, "no colon", "Basic {b64 fred}"),
		malformed(authz.TwoCredentials, "two Basic headers", "Basic {b64 a:b},Basic {b64 c:d}"),
		malformed(authz.TwoCredentials, "two Bearer headers", "Bearer {fred},Bearer {fred}"),
		malformed(authz.TwoCredentials, "one behind another scheme", "Negotiate YII=, Basic {b64 a:b}"),
		malformed(authz.TokenAsUser, "token for a user", "Basic {b64 {fred}:x}"),
		malformed(authz.TokenAsUser, "token alone in Basic", "Basic {b64 {fred}}"),
		malformed(authz.TokenAsUser, "quoted token for a user", "Basic {b64 \"{fred}\":}"),
		malformed(authz.OtherScheme, "no scheme", "{fred}"),
		malformed(authz.OtherScheme, "another scheme", "Token {fred}"),
		malformed(authz.OtherScheme, "another scheme, quoted", "Token \"{fred cut}\""),
		malformed(authz.OtherScheme, "no scheme, quoted and cut", "\"{fred cut}\""),
		malformed(authz.QuotedCredential, "quoted Bearer", "Bearer \"{fred}\""),
		malformed(authz.QuotedCredential, "quoted and cut Bearer", "Bearer '{fred cut}'"),
		malformed(authz.QuotedCredential, "a word behind a Bearer", "Bearer {fred} x"),
		malformed(authz.QuotedCredential, "a cut token and a word", "Bearer {fred cut} x"),
		malformed(authz.QuotedCredential, "quoted password", "Basic {b64 fred:\"{fred}\"}"),
		malformed(authz.QuotedCredential, "cut password behind a space", "Basic {b64 fred: {fred cut}}"),
		malformed(authz.EmptyBearer, "Bearer alone", "Bearer"),
		malformed(authz.EmptyBearer, "Bearer with nothing but spaces", "Bearer  "),
		malformed(0, "a tab behind Bearer", "Bearer\t{fred}"),
		malformed(0, "a colon behind Bearer", "Bearer: {fred}"),
		malformed(0, "Bearer with two words", "Bearer a b"),
		{name: "query", path: "/rest/x?a={fred}", reason: authz.MalformedCredential, detail: authz.TokenInQuery},
		{name: "path", path: "/rest/{fred}", reason: authz.MalformedCredential, detail: authz.TokenInPath},
		{name: "path, without the checksum", path: "/rest/{fred secret}", reason: authz.MalformedCredential, detail: authz.TokenInPath},
		{name: "path, escaped twice", path: "/rest/tgate%255F{fred tail}", reason: authz.MalformedCredential, detail: authz.TokenInPath},
		{name: "path, base64", path: "/rest/{b64 fred:{fred}}", reason: authz.MalformedCredential, detail: authz.TokenInPath},
		query(authz.TokenInQuery, "a={fred secret}"),
		query(authz.TokenInQuery, "a=x{fred secret}"),
		query(authz.TokenInQuery, "{fred secret}=a"),
		query(authz.TokenInQuery, "a=%74gate_{fred tail}"),
		query(authz.TokenInQuery, "a=tgate%255F{fred tail}"),
		query(authz.TokenInQuery, "a=tgate%25255F{fred tail}"),
		query(authz.TokenInQuery, "Authorization=Basic+{b64 fred:{fred}}"),
		query(authz.TokenInQuery, "a={b64 {fred secret}}"),
		query(authz.TokenInQuery, "{b64 xy:{management}}=a"),
		{name: "too little of a secret in the query", path: "/rest/x?a={fred cut}", outcome: passed, reason: authz.NoCredential},
		{name: "token without the checksum within User-Agent", header: map[string]string{"user-agent": "xtgate_" + strings.Repeat("0", 55)}, reason: authz.MalformedCredential, detail: authz.TokenInHeader},
		{name: "token and password in the query", path: "/rest/x?os_password=x", authorization: "Basic {b64 a:b}", reason: authz.MalformedCredential, detail: authz.TwoCredentials},
		malformed(authz.EmptyPassword, "empty password", "Basic {b64 fred:}"),
		malformed(authz.EmptyPassword, "empty user name and password", "Basic {b64 :}"),
		malformed(authz.EncodedToken, "base64 without a scheme", "{b64 fred:{fred}}"),
		malformed(authz.EncodedToken, "base64 behind Bearer", "Bearer {b64 fred:{fred}}"),
		malformed(authz.EncodedToken, "base64 of the token behind Bearer", "Bearer {b64 {fred}}"),
		malformed(authz.EncodedToken, "base64 behind Token", "Token {b64 a:{fred}}"),
		malformed(authz.EncodedToken, "base64 behind Negotiate", "Negotiate {b64 ab:{fred}}"),
		malformed(authz.EncodedToken, "base64 in a parameter", "Digest username=\"{b64 x:{fred}}\""),
		malformed(authz.EncodedToken, "percent-encoded Bearer", "Bearer %74gate_{fred tail}"),
		malformed(authz.EncodedToken, "percent-encoded password", "Basic {b64 fred:%74gate_{fred tail}}"),
		login("token", `{"username":"fred","password":"{fred}"}`),
		login("cut token", `{"username":"fred","password":"{fred cut}"}`),
		login("escaped token", `{"username":"fred","password":"\u0074gate_{fred tail}"}`),
		login("token with every letter escaped", `{"password":"\u0074\u0067\u0061\u0074\u0065\u005f{fred tail}"}`),
		login("UTF-16", "{\x00\"\x00p\x00\"\x00:\x00\"\x00t\x00g\x00a\x00t\x00e\x00_\x00A\x00\"\x00}\x00"),
		login("management token for a user", `{"username":"{management}","password":"x"}`),
		login("form", "os_username=fred&os_password=%74gate%5F{fred tail}"),
		login("token behind an escaped tab", `{"password":"\ttgate_abc"}`),
		login("base64 of the token", `{"password":"{b64 {fred}}"}`),
		login("base64 of the user name and token", `{"password":"{b64 fred:{fred}}"}`),
		login("token within a password", `{"password":"x{fred}"}`),
		{name: "login in an odd spelling", method: "POST", path: "/rest/auth/1/session;x", reason: authz.MalformedCredential, detail: authz.OddLogin},
		{name: "login in an escaped spelling", method: "POST", path: "/rest/auth/1/%73ession", reason: authz.MalformedCredential, detail: authz.OddLogin},
		{name: "login without a body", method: "POST", path: "/rest/auth/1/session", body: "none", reason: authz.MalformedCredential, detail: authz.NoLoginBody},
		{name: "blocked login", method: "POST", path: "/rest/auth/1/session", config: block, reason: authz.PasswordBlocked, detail: authz.LoginBlocked},
		{name: "login with an empty password", method: "POST", path: "/rest/auth/1/session", body: `{"username":"fred", "password" : ""}`, reason: authz.MalformedCredential, detail: authz.EmptyPassword},
		{name: "login with a quote in front of the password", method: "POST", path: "/rest/auth/1/session", body: `{"username":"fred","password":"\"abc"}`, outcome: passed, reason: authz.Password},
		{name: "empty password beside a token", path: "/rest/x?os_username=&os_password=", authorization: "Bearer {fred}", outcome: admitted, reason: authz.TokenAllowed, user: "Fred", newPath: "/rest/x"},
		query(authz.EmptyPassword, "os_username=fred&os_password="),
		query(authz.EmptyPassword, "os_password&os_username=fred"),
		query(authz.EmptyPassword, "os_username=fred&os_password=&os_password=pw"),
		query(authz.TokenInQuery, "os_username=fred&os_password={fred cut}"),
		query(authz.TokenInQuery, "os_username=fred&os_password=%22{fred cut}%22"),
		query(authz.TokenInQuery, "os%5Fpassword={b64 {fred}}"),
		query(authz.TokenInQuery, "os_password={b64 x:{fred}}"),
		malformed(authz.EncodedToken, "base64 of the token as the password", "Basic {b64 fred:dGdhdGVfQUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=}"),
		malformed(authz.EncodedToken, "UTF-16 in Basic", "Basic {b64 x\x00:\x00t\x00g\x00a\x00t\x00e\x00_\x00A\x00}"),
		malformed(authz.EncodedToken, "base64 behind a slash", "x/{b64 fred:{fred}}"),
		malformed(authz.EncodedToken, "base64 behind a word and a dash", "ApiKey-{b64 x:{fred}}"),
		malformed(authz.EncodedToken, "base64 behind two letters", "Key-id/xy{b64 ab:{management}}"),
		{name: "token in User-Agent", header: map[string]string{"user-agent": "x tgate_a"}, reason: authz.MalformedCredential, detail: authz.TokenInHeader},
		{name: "token in x-request-id", header: map[string]string{"x-request-id": "x tgate_a"}, reason: authz.MalformedCredential, detail: authz.TokenInHeader},
		{name: "token in origin", header: map[string]string{"origin": "x tgate_a"}, reason: authz.MalformedCredential, detail: authz.TokenInHeader},
		{name: "token in upgrade", header: map[string]string{"upgrade": "x tgate_a"}, reason: authz.MalformedCredential, detail: authz.TokenInHeader},
		{name: "token in x-http-method-override", header: map[string]string{"x-http-method-override": "x tgate_a"}, reason: authz.MalformedCredential, detail: authz.TokenInHeader},
		{name: "token in x-method-override", header: map[string]string{"x-method-override": "x tgate_a"}, reason: authz.MalformedCredential, detail: authz.TokenInHeader},
		{name: "token in x-http-method", header: map[string]string{"x-http-method": "x tgate_a"}, reason: authz.MalformedCredential, detail: authz.TokenInHeader},

		token(authz.WrongLength, "cut", "Bearer {fred cut}"),
		token(authz.WrongLength, "prefix alone", "Bearer tgate_"),
		token(authz.WrongLength, "too long", "Bearer {fred}x"),
		token(authz.LineEnd, "line feed", "Basic {b64 fred:{fred}\n}"),
		token(authz.LineEnd, "carriage return", "Basic {b64 fred:{fred}\r}"),
		token(authz.LineEnd, "space", "Basic {b64 fred:{fred} }"),
		token(authz.QuotedToken, "quote", "Basic {b64 fred:{fred}\"}"),
		token(authz.OddCharacters, "odd character", "Bearer tgate_"+strings.Repeat("-", 61)),
		token(authz.WrongChecksum, "mistyped", "Bearer tgate_"+strings.Repeat("0", 61)),
		{name: "an e-mail address", authorization: "Basic {b64 fred@example.com:{fred}}", reason: authz.WrongUser, detail: authz.EmailAsUser, user: "Fred"},
		{name: "another user", authorization: "Basic {b64 wilma:{fred}}", reason: authz.WrongUser, user: "Fred"},
		{name: "no user name", authorization: "Basic {b64 :{fred}}", reason: authz.WrongUser, detail: authz.NoUserName, user: "Fred"},

		path(authz.Semicolon, "/rest/a;b"),
		path(authz.BadSegment, "/rest//a"),
		path(authz.BadSegment, "/rest/./a"),
		path(authz.BadSegment, "rest"),
		path(authz.LonePercent, "/rest/100%"),
		path(authz.LonePercent, "/rest/100%/b"),
		path(authz.LonePercent, "/rest/%zz"),
		path(authz.NeedlessCode, "/rest/%61"),
		path(authz.NeedlessCode, "/rest/a%2Fb"),
		path(authz.NeedlessCode, "/rest/a%00"),
		path(authz.OddByte, "/rest/a b"),
		path(authz.OddByte, "/rest/\\"),
		path(authz.OddByte, "/rest/x?os_a=1&b=\xc3\xa9"),
		path(authz.HiddenName, "/rest/x?os%5fa=1"),
		path(0, "/s/x/_/y/_/rest/x"),

		{name: "context path left out", authorization: "Bearer {fred}", config: context, reason: authz.PathNotAllowed, detail: authz.OutsideContext, user: "Fred"},
		{name: "closed path", authorization: "Bearer {fred}", path: "/secure/x", reason: authz.PathNotAllowed, user: "Fred"},
		{name: "closed path, writing by a read-only token", authorization: "Bearer {reader}", method: "POST", path: "/secure/x", reason: authz.PathNotAllowed, user: "Fred"},
		{name: "closed path, read-only", authorization: "Bearer {reader}", path: "/secure/x", reason: authz.PathNotAllowed, detail: authz.BeyondREST, user: "Fred"},
		{name: "closed path below rest, read-only", authorization: "Bearer {reader}", path: "/rest/x", config: func(c *config.Config) { c.Tokens.Paths = nil }, reason: authz.PathNotAllowed, user: "Fred"},
		{name: "closed download", authorization: "Bearer {reader}", path: "/secure/attachment/1/a", config: noDownloads, reason: authz.PathNotAllowed, detail: authz.DownloadClosed, user: "Fred"},
		{name: "closed download, written", authorization: "Bearer {fred}", method: "POST", path: "/secure/attachment/1/a", config: noDownloads, reason: authz.PathNotAllowed, user: "Fred"},
		{name: "static path", authorization: "Bearer {fred}", path: "/s/x/_/rest/x", reason: authz.PathNotAllowed, detail: authz.StaticPath, user: "Fred"},
		{name: "TRACE", authorization: "Bearer {fred}", method: "TRACE", path: "/rest/api/2/myself", reason: authz.EndpointForbidden, detail: authz.MethodRefused, user: "Fred"},
		{name: "TRACE, read-only", authorization: "Bearer {reader}", method: "TRACE", path: "/rest/api/2/myself", reason: authz.EndpointForbidden, detail: authz.MethodRefused, user: "Fred"},
		{name: "TRACE, overridden", authorization: "Bearer {fred}", method: "TRACE", path: "/rest/pat/1", header: map[string]string{"x-http-method": "GET"}, reason: authz.EndpointForbidden, detail: authz.MethodRefused, user: "Fred"},
		{name: "CONNECT", authorization: "Bearer {fred}", method: "CONNECT", path: "/secure/x", config: openPath("/"), reason: authz.EndpointForbidden, detail: authz.MethodRefused, user: "Fred"},
		{name: "administration", authorization: "Bearer {connected}", path: "/rest/api/2/settings/columns", config: withPATs, reason: authz.EndpointForbidden, detail: authz.ClosedAdministration, user: "Fred"},
		{name: "forbidden endpoint", authorization: "Bearer {fred}", path: "/rest/pat/1", reason: authz.EndpointForbidden, user: "Fred"},
		{name: "path closed to read-only tokens", authorization: "Bearer {reader}", path: "/secure/x", config: openPath("/secure/x"), reason: authz.ReadOnly, detail: authz.ReadOnlyPath, user: "Fred"},
		{name: "overridden", authorization: "Bearer {reader}", path: "/rest/api/2/issue/A-1", header: map[string]string{"x-http-method": "PUT"}, reason: authz.ReadOnly, detail: authz.MethodOverride, user: "Fred"},
		{name: "writes", authorization: "Bearer {reader}", method: "POST", path: "/rest/api/2/issue", reason: authz.ReadOnly, detail: authz.PostMayWrite, user: "Fred"},
		{name: "deletes", authorization: "Bearer {reader}", method: "DELETE", path: "/rest/api/2/issue/A-1", reason: authz.ReadOnly, user: "Fred"},
	}
}

// Each detail has a case, a unique word within its reason, and a text that says
// what to do.
func TestDetails(t *testing.T) {
	w := newWorld(t)
	seen := map[authz.Detail]bool{}
	for _, c := range detailCases() {
		t.Run(strings.ReplaceAll(c.name, "/", "|"), func(t *testing.T) {
			d := c.check(t, w)
			if d.Detail != c.detail {
				t.Errorf("detail %q, want %q", d.Detail, c.detail)
			}
			if d.Text() == "" || strings.Contains(d.Text(), w.values["fred"].Reveal()[6:60]) {
				t.Errorf("the text is %q", d.Text())
			}
			seen[d.Detail] = true
		})
	}
	words := map[string]bool{}
	for _, d := range authz.Details() {
		word := d.Reason().String() + ": " + d.String()
		text := authz.Decision{Reason: d.Reason(), Detail: d}.Text()
		switch {
		case !seen[d] && d != authz.DownloadOnly:
			t.Errorf("no case for %s", word)
		case words[word] || d.String() == "" || d.Reason() == 0:
			t.Errorf("the word of %d is %s", d, word)
		case text == d.Reason().Text() || len(text) < 40:
			t.Errorf("%s says %q", word, text)
		}
		words[word] = true
	}
	if d := authz.Detail(255); d.String() != "" || d.Reason() != 0 {
		t.Errorf("detail 255 is %v of %v", d, d.Reason())
	}
}

// The search for tokens is linear in the length of a request: 56 KiB of token
// prefixes take no longer than other text. A quadratic search would take minutes.
func TestTokenSearchIsLinear(t *testing.T) {
	w := newWorld(t)
	junk := strings.Repeat("xtgate_", 8<<10)
	half := strings.Repeat("xtgate_", 4<<10)
	decided := make(chan struct{})
	go func() {
		defer close(decided)
		for range 20 {
			for _, c := range []decisionCase{
				{header: map[string]string{"user-agent": junk}},
				{authorization: junk},
				{authorization: "Bearer " + junk},
				{authorization: "Token %" + junk},
				{authorization: "{b64 " + half + "}"},
				{authorization: "Basic {b64 fred:%" + half + "}"},
				{path: "/rest/" + junk},
				{path: "/rest/x?os_password=%" + junk},
				{path: "/rest/x?a=" + strings.Repeat("%25", 16<<10)},
				{path: "/rest/x?a=" + strings.Repeat("dGdh", 12<<10)},
				{method: "POST", path: "/rest/auth/1/session", body: `{"password":"\\` + junk + `"}`},
			} {
				r, view := c.request(w)
				authz.Decide(r, view)
			}
		}
	}()
	select {
	case <-decided:
	case <-time.After(30 * time.Second):
		t.Fatal("180 decisions took more than 30 s")
	}
}

// Texts contain the lengths and waiting times.
func TestTextsContainNumbers(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		d    authz.Decision
		want string
	}{
		{decisionCase{authorization: "Bearer {fred cut}"}.run(t, w), "not whole: 60 of 67 characters"},
		{decisionCase{authorization: "Bearer tgate_"}.run(t, w), "not whole: 6 of 67 characters"},
		{decisionCase{authorization: "Bearer {fred}xyz"}.run(t, w), "too long: 70 characters arrived, and a token has 67"},
		{decisionCase{authorization: "Bearer {spent}"}.run(t, w), "Wait 60 seconds"},
		{decisionCase{authorization: "Bearer {spent}", later: time.Minute - 1}.run(t, w), "Wait 1 second and"},
	} {
		if text := c.d.Text(); !strings.Contains(text, c.want) {
			t.Errorf("%v says %q, want %q in it", c.d.Reason, text, c.want)
		}
	}
}

// Any number of spaces may separate a scheme and its credential (RFC 9110 §11.4,
// RFC 6750 §2.1).
func TestSpacesAfterScheme(t *testing.T) {
	w := newWorld(t)
	for _, spaces := range []string{" ", "  ", strings.Repeat(" ", 50)} {
		for _, authorization := range []string{"Bearer" + spaces + "{fred}", "Basic" + spaces + "{b64 fred:{fred}}"} {
			decisionCase{authorization: authorization, outcome: admitted, reason: authz.TokenAllowed, user: "Fred"}.check(t, w)
		}
		decisionCase{authorization: "Basic" + spaces + "{b64 fred:pw}", outcome: passed, reason: authz.Password}.check(t, w)
		decisionCase{authorization: "Bearer" + spaces + "abc", outcome: passed, reason: authz.OtherBearer}.check(t, w)
		decisionCase{authorization: "Bearer" + spaces + "\t{fred}", reason: authz.MalformedCredential}.check(t, w)
	}
}

// Downloads are open to every token for reading, except paths that might run an
// action.
func TestDownloads(t *testing.T) {
	w := newWorld(t)
	open := []string{
		"/secure/attachment/10000/a.txt", "/secure/attachment/10000/a%20b.txt", "/secure/attachment", "/secure/thumbnail/1/_thumb_1.png",
		"/secure/useravatar?ownerId=fred", "/secure/projectavatar?pid=1&os_authType=basic", "/secure/viewavatar?avatarId=1",
	}
	closed := []string{
		"/secure/attachmentx/1", "/secure/attachments/1", "/secure/Attachment/1", "/secure/useravatarx", "/secure/useravatar/x", "/secure/viewavatar/1.jspa",
		"/secure/attachment/1/x.jspa", "/secure/attachment/1/x.jsp", "/secure/attachment/x!default.jspa", "/secure/attachment/x.jspa/1",
		"/s/x/_/secure/attachment/1/a", "/secure/attachmentzip/1.zip", "/secure/Dashboard.jspa", "/jira/secure/attachment/1/a",
	}
	for _, name := range []string{"fred", "reader"} {
		for _, path := range open {
			for _, method := range []string{"GET", "HEAD"} {
				if got := ask(t, w, name, method, path); got != authz.TokenAllowed {
					t.Errorf("%s, %s %s: %v", name, method, path, got)
				}
			}
			for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "get", "FOO"} {
				d := decisionCase{authorization: "Bearer {" + name + "}", method: method, path: path}.run(t, w)
				if d.Reason != authz.PathNotAllowed || d.Detail != authz.DownloadOnly {
					t.Errorf("%s, %s %s: %v %v", name, method, path, d.Reason, d.Detail)
				}
			}
			for _, header := range []string{"upgrade", "x-http-method-override", "x-method-override", "x-http-method"} {
				d := decisionCase{authorization: "Bearer {" + name + "}", path: path, header: map[string]string{header: "x"}}.run(t, w)
				if d.Reason != authz.PathNotAllowed {
					t.Errorf("%s, GET %s with %s: %v", name, path, header, d.Reason)
				}
			}
			none := decisionCase{authorization: "Bearer {" + name + "}", path: path, config: noDownloads}.run(t, w)
			if none.Reason != authz.PathNotAllowed || none.Detail != authz.DownloadClosed {
				t.Errorf("%s, %s without downloads: %v %v", name, path, none.Reason, none.Detail)
			}
		}
		for _, path := range closed {
			if got := ask(t, w, name, "GET", path); got != authz.PathNotAllowed {
				t.Errorf("%s, GET %s: %v", name, path, got)
			}
		}
		if got := ask(t, w, name, "GET", "/secure/attachment/1/x;.jspa"); got != authz.AmbiguousPath {
			t.Errorf("%s, a parameter: %v", name, got)
		}
	}
	inContext := decisionCase{authorization: "Bearer {reader}", path: "/jira/secure/attachment/1/a", config: context, outcome: admitted, reason: authz.TokenAllowed, user: "Fred"}
	inContext.check(t, w)
	written := decisionCase{authorization: "Bearer {fred}", method: "POST", path: "/secure/attachment/1", config: openPath("/secure/attachment/"),
		outcome: admitted, reason: authz.TokenAllowed, user: "Fred", write: true}
	written.check(t, w)
}

// Read-only tokens may send the POSTs in tokens.readingPosts, in every spelling, and
// no other request.
func TestReadingPosts(t *testing.T) {
	w := newWorld(t)
	post := func(pattern, path string, reason authz.Reason) {
		t.Helper()
		d := decisionCase{authorization: "Bearer {reader}", method: "POST", path: path, config: readingPost(pattern)}.run(t, w)
		if d.Reason != reason || d.Write {
			t.Errorf("POST %s with %s: %v, write %v", path, pattern, d.Reason, d.Write)
		}
	}
	const aql = "/rest/assets/1.0/object/navlist/aql"
	for _, path := range spellings("/rest/assets/{v}/object/navlist/aql", "1", "1.0") {
		post(aql, path, authz.TokenAllowed)
	}
	post("/rest/assets/*/object/navlist/aql", "/rest/assets/latest/object/navlist/aql", authz.TokenAllowed)
	post("/rest/tempo-timesheets/4/worklogs/search", "/rest/tempo-timesheets/4/worklogs/search?x=1", authz.TokenAllowed)
	post(aql, "/rest/api/2/search", authz.TokenAllowed) // Jira's own stay
	post(aql, aql+"/x", authz.ReadOnly)
	post(aql, "/rest/assets/1.0/object", authz.ReadOnly)
	post("/secure/x", "/secure/x", authz.PathNotAllowed)
	for _, forbidden := range []string{"/rest/pat/latest/tokens", "/rest/auth/1/session", "/rest/plugins/1.0/", "/rest/api/2/myself/password", "/rest/api/2/user/session/wilma"} {
		post(forbidden, forbidden, authz.EndpointForbidden)
		post("/rest/*", forbidden, authz.EndpointForbidden)
		post("*", forbidden, authz.EndpointForbidden)
	}
	put := decisionCase{authorization: "Bearer {reader}", method: "PUT", path: aql, config: readingPost(aql), reason: authz.ReadOnly, user: "Fred"}
	put.check(t, w)
	overridden := decisionCase{authorization: "Bearer {reader}", method: "POST", path: aql + "?_method=DELETE", config: readingPost(aql), reason: authz.ReadOnly, user: "Fred"}
	overridden.check(t, w)
	write := decisionCase{authorization: "Bearer {fred}", method: "POST", path: aql, config: func(c *config.Config) {}, outcome: admitted, reason: authz.TokenAllowed, user: "Fred", write: true}
	write.check(t, w)
}
