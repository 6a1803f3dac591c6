package web_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/directory"
	"github.com/tokengate/tokengate/authz/identify"
	"github.com/tokengate/tokengate/authz/product/jira/jiratest"
	"github.com/tokengate/tokengate/authz/web"
	"github.com/tokengate/tokengate/store"
)

// session logs in to Jira like a browser and returns a sender with the cookie.
func (f *fixture) session(t *testing.T, name string) sender {
	t.Helper()
	body := fmt.Sprintf(`{"username":%q,"password":%q}`, name, "pw-"+strings.ToLower(name))
	w := httptest.NewRecorder()
	f.jira.ServeHTTP(w, httptest.NewRequest("POST", f.options.ContextPath+"/rest/auth/1/session", strings.NewReader(body)))
	for _, c := range w.Result().Cookies() {
		if c.Name == "JSESSIONID" {
			return f.as("").with("Cookie", "lb=node1").with("Cookie", "JSESSIONID="+c.Value)
		}
	}
	t.Fatalf("login failed: %d", w.Code)
	return sender{}
}

// management creates a management token.
func (f *fixture) management(t *testing.T, label, more string) web.IssuedToken {
	t.Helper()
	var issued web.IssuedToken
	f.into(t, "POST", base+"/", `{"type":"management","label":"`+label+`","expiresIn":"30d","networks":["192.0.2.0/24"]`+more+`}`, &issued)
	return issued
}

// Only verified credentials identify a caller.
func TestIdentify(t *testing.T) {
	f := newFixture(t)
	ordinary := f.create(t, "fred", "ordinary").PasswordValue
	admin := f.management(t, "robots", "").PasswordValue
	fred, barney := f.session(t, "fred"), f.session(t, "barney")
	basic := func(name, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
	}
	native := base64.StdEncoding.EncodeToString(slices.Repeat([]byte{'x'}, 33))
	for _, c := range []struct {
		name   string
		s      sender
		status int
		says   string // the caller's name, or a part of the refusal
	}{
		{"nothing", f.as(""), 401, "log in with the browser"},
		{"cookie", fred, 200, "Fred"},
		{"password", f.user("fred"), 200, "Fred"},
		{"password, name in another case", f.as(basic("FRED", "pw-fred")), 200, "Fred"},
		{"cookie and another scheme", fred.with("Authorization", "Negotiate YII"), 200, "Fred"},
		{"another scheme", f.as("Negotiate YII"), 401, "log in with the browser"},
		{"wrong password", f.as(basic("wilma", "x")), 401, "user name and password are not accepted"},
		{"dead cookie", f.as("").with("Cookie", "JSESSIONID=dead"), 401, "log in with the browser"},
		{"two users", fred.with("Authorization", basic("barney", "pw-barney")), 401, "two users'"},
		{"management token", f.as("Bearer " + admin), 200, "token:"},
		{"management token beside a cookie", fred.with("Authorization", "Bearer "+admin), 200, "token:"},
		{"management token as Basic", f.as(basic("barney", admin)), 401, authz.WrongUser.Text()},
		{"ordinary token", f.as("Bearer " + ordinary), 403, authz.WrongTokenType.Text()},
		{"ordinary token as Basic", f.as(basic("fred", ordinary)), 403, authz.WrongTokenType.Text()},
		{"ordinary token beside an administrator's cookie", barney.with("Authorization", "Bearer "+ordinary), 403, authz.WrongTokenType.Text()},
		{"unknown token", f.as("Bearer tgadm_" + strings.Repeat("0", 61)), 401, authz.MalformedToken.Text()},
		{"native token", f.as("Bearer " + native), 401, "tgadm_"},
		{"native token beside a cookie", fred.with("Authorization", "Bearer "+native), 401, "tgadm_"},
		{"two credentials", f.as("Bearer "+admin).with("Authorization", basic("fred", "pw-fred")), 401, authz.MalformedCredential.Text()},
		{"no base64", f.as("Basic ?"), 401, authz.MalformedCredential.Text()},
		{"identity headers", identities(f.as(""), "barney"), 401, "log in with the browser"},
		{"identity headers beside a cookie", identities(fred, "barney"), 200, "Fred"},
		{"identity headers beside a password", identities(f.user("fred"), "barney"), 200, "Fred"},
		{"management token from elsewhere", f.from("198.51.100.7", "Bearer "+admin), 403, authz.NetworkNotAllowed.Text()},
		{"management token from nowhere", f.from("", "Bearer "+admin), 503, authz.NoClientAddress.Text()},
		{"management token from two places", f.as("Bearer "+admin).with(authz.ClientIPHeader, "192.0.2.8"), 503, authz.NoClientAddress.Text()},
		{"management token from nonsense", f.from("here", "Bearer "+admin), 503, authz.NoClientAddress.Text()},
		{"management token by a forwarded address", f.from("198.51.100.7", "Bearer "+admin).with("X-Forwarded-For", "192.0.2.7"), 403, authz.NetworkNotAllowed.Text()},
	} {
		got := c.s.send(t, "GET", base+"/me", nil)
		want := map[bool]string{true: `Basic realm="Jira"`}[got.status == 401]
		if challenge := got.header.Get("WWW-Authenticate"); challenge != want {
			t.Errorf("%s: the challenge is %q, want %q", c.name, challenge, want)
		}
		if got.status != 200 {
			if text := denied(t, got, c.status, ""); !strings.Contains(text, c.says) {
				t.Errorf("%s: %q does not say %q", c.name, text, c.says)
			}
			continue
		}
		var me web.Me
		read(t, c.name, got, &me)
		if c.status != 200 || !strings.HasPrefix(me.Name, c.says) || me.From != "192.0.2.7" {
			t.Errorf("%s: %+v, want %d %s", c.name, me, c.status, c.says)
		}
	}
	// No token was handed to Jira, and no identity.
	for _, seen := range f.jira.Requests() {
		if text := fmt.Sprint(seen); strings.Contains(text, "tgadm_") || strings.Contains(text, "tgate_") || strings.Contains(text, native) ||
			seen.Header.Get("X-Forwarded-User") != "" {
			t.Errorf("Jira got %v", seen.Header)
		}
	}
}

// identities are the headers by which Jira's authenticators could be given a user.
func identities(s sender, name string) sender {
	for _, header := range []string{"X-Forwarded-User", "Remote-User", "REMOTE_USER", "X-Remote-User", "X-AUSERNAME", "X-Forwarded-Email", "Forwarded", "X-Tokengate-User"} {
		s = s.with(header, name)
	}
	return s
}

// from returns a sender at another address; "" is none.
func (f *fixture) from(address, authorization string) sender {
	s := f.as(authorization)
	s.header.Del(authz.ClientIPHeader)
	if address != "" {
		s.header.Set(authz.ClientIPHeader, address)
	}
	return s
}

// With trusted hops the header holds X-Forwarded-For.
func TestAddressBehindProxies(t *testing.T) {
	f := newFixture(t)
	admin := f.management(t, "robots", "").PasswordValue
	o := f.options
	o.TrustedHops = 1
	f.http = serve(t, web.New(o), nil)
	for list, want := range map[string]int{
		"192.0.2.7,10.0.0.1": 200, "198.51.100.7, 192.0.2.7:80,10.0.0.1": 200, "192.0.2.7, 198.51.100.7,10.0.0.1": 403,
		"192.0.2.7": 503, "192.0.2.7,unknown,10.0.0.1": 503, "192.0.2.7,unknown": 503, "": 503,
	} {
		if got := f.from(list, "Bearer "+admin).send(t, "GET", base+"/tokens", nil); got.status != want {
			t.Errorf("%q: status %d, want %d: %s", list, got.status, want, got.body)
		}
	}
}

// A management token has an administrator's rights until it expires, and its use is
// counted.
func TestManagementToken(t *testing.T) {
	f := newFixture(t)
	issued := f.management(t, "robots", `,"rate":{"requests":100,"perSeconds":100,"burst":5}`)
	reader := f.management(t, "reader", `,"readOnly":true`)
	robots := f.as("Bearer " + issued.PasswordValue)
	var made web.IssuedToken
	robots.into(t, "POST", base+"/", `{"user":"fred","label":"by a robot"}`, &made)
	if made.User != "Fred" || made.CreatedBy != "token:"+issued.ID {
		t.Errorf("created %+v", made)
	}
	denied(t, robots.send(t, "POST", base+"/", `{"type":"management","label":"x","expiresIn":"1d","networks":["192.0.2.0/24"]}`), 403, "")
	denied(t, robots.send(t, "POST", base+"/"+issued.ID+"/rotate", `{}`), 403, "")
	denied(t, f.as("Bearer "+reader.PasswordValue).send(t, "DELETE", base+"/"+made.ID, nil), 403, "")
	if got := f.get(t, issued.ID); got.UsageCount != 3 || got.WriteCount != 3 || *got.LastAddress != "192.0.2.7" {
		t.Errorf("its use is %+v", got)
	}
	// Its own rate binds it here, where authz.Decide passes it through.
	robots.send(t, "GET", base+"/me", nil)
	robots.send(t, "GET", base+"/me", nil)
	got := robots.send(t, "GET", base+"/me", nil)
	if denied(t, got, 429, ""); got.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After is %q", got.header.Get("Retry-After"))
	}
	if got := f.get(t, issued.ID); got.UsageCount != 5 {
		t.Errorf("what was refused is counted: %d", got.UsageCount)
	}

	f.pass(time.Hour)
	f.send(t, "POST", base+"/"+issued.ID+"/disable", nil)
	if text := denied(t, robots.send(t, "GET", base+"/me", nil), 401, ""); text != authz.Disabled.Text() {
		t.Errorf("disabled: %s", text)
	}
	f.send(t, "POST", base+"/"+issued.ID+"/enable", nil)
	f.pass(30 * 24 * time.Hour)
	if text := denied(t, robots.send(t, "GET", base+"/me", nil), 401, ""); text != authz.Expired.Text() {
		t.Errorf("expired: %s", text)
	}
	f.send(t, "DELETE", base+"/"+issued.ID, nil)
	if text := denied(t, robots.send(t, "GET", base+"/me", nil), 401, ""); text != authz.UnknownToken.Text() {
		t.Errorf("revoked: %s", text)
	}
}

// The store decides, even if the index differs.
func TestManagementTokenIsCheckedInStore(t *testing.T) {
	f := newFixture(t)
	issued := f.management(t, "robots", "")
	f.faults.silent.Store(true)
	robots := f.as("Bearer " + issued.PasswordValue)
	before, err := f.tokens.Get(t.Context(), issued.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change func(*store.Token)
		reason authz.Reason
	}{
		{func(t *store.Token) { t.State = store.Disabled }, authz.Disabled},
		{func(t *store.Token) { t.Expires = start }, authz.Expired},
		{func(t *store.Token) { t.State, t.Revoked = store.Revoked, start }, authz.UnknownToken},
	} {
		_, err := f.faults.Update(t.Context(), issued.ID, func(k *store.Token, _ store.LiveFunc) (store.Audit, error) {
			k.State, k.Expires = before.State, before.Expires
			c.change(k)
			return store.Audit{Action: "test"}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if text := denied(t, robots.send(t, "GET", base+"/me", nil), c.reason.Status(), ""); text != c.reason.Text() {
			t.Errorf("%v: %s", c.reason, text)
		}
	}
	f.faults.fail(func(context.Context, string) error { return context.DeadlineExceeded })
	denied(t, robots.send(t, "GET", base+"/me", nil), 503, "")
	f.faults.fail(nil)
}

// A token in the query works like one in a header, if enabled.
func TestTokenInQuery(t *testing.T) {
	f := newFixture(t)
	value := f.management(t, "robots", "").PasswordValue
	denied(t, f.as("").send(t, "GET", base+"/me?access_token="+value, nil), 401, "")
	g := configured(t, strings.Replace(settings, "maxPerUser: 3", "queryParameter: access_token", 1))
	value = g.management(t, "robots", "").PasswordValue
	if got := g.as("").send(t, "GET", base+"/tokens?access_token="+value+"&state=active", nil); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// The API is only below the context path.
func TestContextPath(t *testing.T) {
	f := configured(t, strings.Replace(settings, "publicURL: https://jira.example.com", "publicURL: https://jira.example.com/jira\nupstream: {contextPath: /jira}", 1))
	value := f.management(t, "robots", "").PasswordValue
	for _, s := range []sender{f.user("fred"), f.session(t, "fred"), f.as("Bearer " + value)} {
		if got := s.send(t, "GET", "/jira"+base+"/me", nil); got.status != 200 {
			t.Errorf("%d %s", got.status, got.body)
		}
		denied(t, s.send(t, "GET", base+"/me", nil), 404, "")
	}
}

// Each failure to identify a caller has its own answer.
func TestNotIdentified(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		err    error
		status int
		retry  string
	}{
		{directory.ErrNotLoggedIn, 401, ""},
		{directory.ErrBasicRefused, 403, ""},
		{directory.ErrCaptcha, 403, ""},
		{directory.ErrInactive, 403, ""},
		{directory.ErrUnusableName, 403, ""},
		{identify.ErrTooManyFailures, 403, ""},
		{directory.ErrUnavailable, 503, ""},
		{context.DeadlineExceeded, 503, ""},
	} {
		o := f.options
		o.Identify = func(context.Context, identify.Credential) (directory.User, http.Header, error) {
			return directory.User{Name: "barney", Active: true}, nil, fmt.Errorf("%w: sector 17", c.err)
		}
		f.http = serve(t, web.New(o), nil)
		got := f.user("barney").send(t, "POST", base+"/", `{"label":"x"}`)
		text := denied(t, got, c.status, "")
		if retry := got.header.Get("Retry-After"); retry != c.retry {
			t.Errorf("%v: Retry-After %q", c.err, retry)
		}
		if c.status == 503 && strings.Contains(text, "sector") {
			t.Errorf("%v: the text tells too much: %s", c.err, text)
		}
	}
	if n := f.logs.FilterLevelExact(zapcore.InfoLevel).FilterMessageSnippet("refused").Len(); n != 8 {
		t.Errorf("%d log lines", n)
	}
	// An inactive user is not identified.
	o := f.options
	o.Identify = func(context.Context, identify.Credential) (directory.User, http.Header, error) {
		return directory.User{Name: "barney"}, nil, nil
	}
	f.http = serve(t, web.New(o), nil)
	denied(t, f.user("barney").send(t, "GET", base+"/tokens", nil), 403, "")
	if n := f.count(t); n != 0 {
		t.Errorf("there are %d tokens", n)
	}
}

// count returns the number of tokens.
func (f *fixture) count(t *testing.T) int {
	t.Helper()
	page, err := f.tokens.List(t.Context(), "", 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return len(page.Tokens)
}

// While Jira is down, slow or gives invalid answers, nothing is done.
func TestJiraFails(t *testing.T) {
	f := newFixture(t)
	fred := f.session(t, "fred")
	for name, fault := range map[string]jiratest.Fault{
		"503":       jiratest.Status(http.StatusServiceUnavailable),
		"500":       jiratest.Status(http.StatusInternalServerError),
		"HTML":      jiratest.LoginPage(),
		"nonsense":  jiratest.Nonsense(),
		"truncated": jiratest.Truncated(),
	} {
		failure := f.jira.Fail("", fault)
		text := denied(t, fred.send(t, "POST", base+"/", `{"label":"x"}`), 503, "")
		if !strings.Contains(strings.ToLower(text), "nothing was done") {
			t.Errorf("%s: %s", name, text)
		}
		// By the admin socket the caller is known, and the owner is not; who may open
		// it learns why.
		text = denied(t, f.send(t, "POST", base+"/", `{"user":"stranger","label":"x"}`), 503, "")
		if !strings.Contains(strings.ToLower(text), "nothing was done") || !strings.Contains(text, "/rest/") {
			t.Errorf("%s, on the admin socket: %s", name, text)
		}
		failure.Stop()
		f.pass(time.Minute)
	}
	if n := f.count(t); n != 0 {
		t.Fatalf("there are %d tokens", n)
	}
	if !strings.Contains(fmt.Sprint(f.logs.FilterField(zap.String("caller", me)).All()), "/rest/api/2/user") {
		t.Error("the log does not say what Jira was asked")
	}
	f.pass(time.Hour)
	var issued web.IssuedToken
	fred.into(t, "POST", base+"/", `{"label":"x"}`, &issued)

	// A client that does not wait for a slow Jira has changed nothing.
	slow := f.jira.Fail("", jiratest.Hang())
	defer slow.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := f.http.Do(newRequest(t, "POST", base+"/", `{"label":"y"}`, f.user("wilma").header).WithContext(ctx))
		gone <- err
	}()
	<-slow.Hit()
	cancel()
	if err := <-gone; err == nil {
		t.Error("it was answered")
	}
	if n := f.count(t); n != 1 {
		t.Errorf("there are %d tokens", n)
	}
}

// If Jira accepts no passwords, the text says what to do.
func TestJiraRefusesBasic(t *testing.T) {
	f := newFixture(t)
	session := f.session(t, "fred")
	f.jira.RefuseBasic(true)
	if text := denied(t, f.user("fred").send(t, "GET", base+"/", nil), 403, ""); !strings.Contains(text, "API tokens page") {
		t.Error(text)
	}
	if got := session.send(t, "GET", base+"/", nil); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// A 401 of the API asks programs for a password, but not browsers, which would open
// their password dialog.
func TestChallenge(t *testing.T) {
	f := newFixture(t)
	const program, browser = `Basic realm="Jira"`, `Bearer realm="Jira"`
	for name, c := range map[string]struct {
		headers []string
		want    string
	}{
		"curl --anyauth":           {[]string{"User-Agent: curl/8.5.0", "Accept: */*"}, program},
		"Java":                     {[]string{"User-Agent: Java/17.0.9", "Accept: text/html, image/gif, image/jpeg, */*; q=0.2"}, program},
		"PowerShell":               {[]string{"User-Agent: Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1"}, program},
		"a load balancer's cookie": {[]string{"Cookie: AWSALB=x"}, program},
		"fetch":                    {[]string{"Sec-Fetch-Mode: cors", "Sec-Fetch-Site: same-origin", "Accept-Language: en"}, browser},
		"fetch without TLS":        {[]string{"Accept-Language: de", "Cookie: JSESSIONID=gone"}, browser},
		"XMLHttpRequest":           {[]string{"X-Requested-With: XMLHttpRequest", "Origin: https://jira.example.com"}, browser},
		"the address bar":          {[]string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: none"}, browser},
		"an old browser":           {[]string{"User-Agent: Mozilla/5.0", "Accept-Language: fr"}, browser},
	} {
		s := f.as("")
		for _, line := range c.headers {
			key, value, _ := strings.Cut(line, ": ")
			s = s.with(key, value)
		}
		for _, credential := range []string{"", "Bearer x", "Basic " + base64.StdEncoding.EncodeToString([]byte("fred:wrong"))} {
			f.pass(20e9)
			to := s
			if credential != "" {
				to = s.with("Authorization", credential)
			}
			got := to.send(t, "GET", base+"/me", nil)
			if got.status == http.StatusForbidden && strings.Contains(got.body, "many") {
				continue // fred's password was wrong twice by now, and Jira is not asked
			}
			if denied(t, got, 401, ""); len(got.header.Values("WWW-Authenticate")) != 1 || got.header.Get("WWW-Authenticate") != c.want {
				t.Errorf("%s with %q: the challenge is %q, want %q", name, credential, got.header.Values("WWW-Authenticate"), c.want)
			}
		}
	}
	for _, c := range []struct {
		s    sender
		path string
	}{{f.user("fred"), "/me"}, {f.user("fred"), "/tokens"}, {f.user("fred"), "/000000000000"}} {
		if got := c.s.send(t, "GET", base+c.path, nil); got.header.Get("WWW-Authenticate") != "" {
			t.Errorf("%d for %s has a challenge", got.status, c.path)
		}
	}
}

// Clients with a wrong password learn this, rather than that they are not logged
// in.
func TestWrongPassword(t *testing.T) {
	for name, c := range map[string]struct {
		user, password string
		cookie         string
		says           string
		not            string
	}{
		"wrong":                      {"fred", "nope", "", "user name and password are not accepted", "e-mail"},
		"unknown user":               {"nobody", "pw-fred", "", "user name and password are not accepted", "e-mail"},
		"an e-mail address":          {"fred@example.com", "pw-fred", "", "Send the user name, which may differ from the e-mail address", "not logged in"},
		"beside an old session":      {"fred", "nope", "JSESSIONID=gone", "user name and password are not accepted", "not logged in"},
		"nothing but an old session": {"", "", "JSESSIONID=gone", "not logged in", "does not accept"},
	} {
		f := newFixture(t)
		s := f.as("")
		if c.user != "" {
			s = f.as("Basic " + base64.StdEncoding.EncodeToString([]byte(c.user+":"+c.password)))
		}
		if c.cookie != "" {
			s = s.with("Cookie", c.cookie)
		}
		text := denied(t, s.send(t, "GET", base+"/me", nil), 401, "")
		if !strings.Contains(text, c.says) || strings.Contains(text, c.not) || c.password != "" && strings.Contains(text, c.password) {
			t.Errorf("%s: %q does not say %q", name, text, c.says)
		}
	}
}

// Callers beyond the budget learn how long to wait, by the API and the pages.
func TestBudgetOfTheAPI(t *testing.T) {
	f := configured(t, strings.Replace(settings, "\naccess:\n", "\naccess:\n  writes: {requests: 60, per: 1h, burst: 2}\n", 1))
	s := f.session(t, "fred")
	b := f.browser(t, "fred")
	_, id := b.issue("/new", "name", "ci")
	denied(t, s.send(t, "POST", base+"/", `{"label":""}`), 400, "label")
	got := s.send(t, "POST", base+"/", `{"label":"x"}`)
	if text := denied(t, got, 429, ""); got.header.Get("Retry-After") != "60" || !strings.Contains(text, "Try again in 60 seconds.") || !strings.Contains(text, "access.writes") {
		t.Errorf("Retry-After %s, %q", got.header.Get("Retry-After"), text)
	}
	shown := b.fill("/new", "name", "another")
	if wait := shown.header.Get("Retry-After"); shown.status != 429 || wait == "" || !strings.Contains(shown.body, "Try again in "+wait+" seconds.") || !strings.Contains(shown.body, "another") {
		t.Errorf("the page: %d, Retry-After %s", shown.status, shown.header.Get("Retry-After"))
	}
	if got := s.send(t, "DELETE", base+"/"+id, nil); got.status != 204 {
		t.Errorf("revoke: %d %s", got.status, got.body)
	}
	f.pass(60e9)
	if got := s.send(t, "POST", base+"/", `{"label":"x"}`); got.status != 200 {
		t.Errorf("a minute later: %d %s", got.status, got.body)
	}
}

// Unauthenticated clients do not block others at their address, and Identify gets
// the address.
func TestUnauthenticatedClientsOfAnAddress(t *testing.T) {
	for _, c := range []struct{ header, seen string }{
		{"192.0.2.7", "192.0.2.7"}, {"::ffff:192.0.2.7", "192.0.2.7"}, {"2001:db8:0:1::1", "2001:db8:0:1::1"}, {"nonsense", ""},
	} {
		f := newFixture(t)
		var seen netip.Addr
		f.options.Identify = func(_ context.Context, c identify.Credential) (directory.User, http.Header, error) {
			seen = c.Client
			name, good := strings.CutPrefix(c.Cookie, "good=")
			if !good {
				return directory.User{}, nil, directory.ErrNotLoggedIn
			}
			return directory.User{Name: name, Active: true, Groups: directory.Groups{Known: true}}, nil, nil
		}
		f.http = serve(t, web.New(f.options), nil)
		status := func(cookie string) int {
			return f.from(c.header, "").with("Cookie", cookie).send(t, "GET", base+"/me", nil).status
		}
		for n := range 50 {
			if got := status(fmt.Sprint("x=", n)); got != 401 {
				t.Fatalf("stranger %d at %q: %d", n, c.header, got)
			}
		}
		if got := status("good=wilma"); got != 200 {
			t.Errorf("another client at %q: %d", c.header, got)
		}
		if want, _ := netip.ParseAddr(c.seen); seen != want {
			t.Errorf("at %q Identify gets the address %v", c.header, seen)
		}
	}
}
