package authz_test

import (
	"strings"
	"time"

	"github.com/tokengate/tokengate/authz"
	"github.com/tokengate/tokengate/authz/config"
)

// decisionCases are examples for the decision table, in its order.
func decisionCases() []decisionCase {
	upm := "/rest/plugins/1.0/?os_authType=basic"
	return []decisionCase{
		// no credential to check.
		{name: "anonymous", outcome: passed, reason: authz.NoCredential},
		{name: "browser", path: "/secure/Dashboard.jspa?selectPageId=1", outcome: passed, reason: authz.NoCredential},
		{name: "Negotiate", authorization: "Negotiate YII=", outcome: passed, reason: authz.NoCredential, config: block},
		{name: "OAuth 1 has commas of right", authorization: `OAuth oauth_token="a", oauth_nonce="b"`, outcome: passed, reason: authz.NoCredential},
		{name: "Digest", authorization: `Digest username="fred", realm="a, b"`, outcome: passed, reason: authz.NoCredential},
		{name: "empty header", authorization: " ", outcome: passed, reason: authz.NoCredential, config: block},
		{name: "ambiguous path without credential", path: "/secure/x;y", outcome: passed, reason: authz.NoCredential, config: block},
		{name: "search for a prefix", path: "/rest/api/2/search?jql=text~tgate_", outcome: passed, reason: authz.NoCredential},
		{name: "os_authType alone is no password", path: upm, outcome: passed, reason: authz.NoCredential, config: block},
		{name: "GET session is no login", path: "/rest/auth/1/session", outcome: passed, reason: authz.NoCredential, config: block},
		{name: "DELETE session is a logout", method: "DELETE", path: "/rest/auth/1/session", outcome: passed, reason: authz.NoCredential, config: block},
		{name: "POST elsewhere is no login", method: "POST", path: "/rest/auth/1/websudo", outcome: passed, reason: authz.NoCredential, config: block},
		{name: "POST to another module's session", method: "POST", path: "/rest/x/1/session", outcome: passed, reason: authz.NoCredential, config: block},
		{name: "POST to a session outside of REST", method: "POST", path: "/x/auth/1/session", outcome: passed, reason: authz.NoCredential, config: block},
		{name: "POST to a session without a version", method: "POST", path: "/rest/auth/session", outcome: passed, reason: authz.NoCredential, config: block},
		{name: "POST to a path of nothing", method: "POST", path: "/%2f/%2E", outcome: passed, reason: authz.NoCredential, config: block},

		// malformed.
		{name: "Basic without anything", authorization: "Basic", reason: authz.MalformedCredential},
		{name: "Basic and a space", authorization: "Basic ", reason: authz.MalformedCredential},
		{name: "Basic, bad base64", authorization: "Basic !!!!", reason: authz.MalformedCredential},
		{name: "Basic, no padding", authorization: "Basic ZnJlZDpw", outcome: passed, reason: authz.Password},
		{name: "Basic, padding missing", authorization: "Basic ZnJlZDpwdw", reason: authz.MalformedCredential},
		{name: "Basic, bits left over", authorization: "Basic ZnJlZDpwdx==", reason: authz.MalformedCredential},
		{name: "Basic, a tab", authorization: "Basic\tZnJlZDpw", reason: authz.MalformedCredential},
		{name: "Basic, a line feed", authorization: "Basic ZnJl\nZDpw", reason: authz.MalformedCredential},
		{name: "Basic, a carriage return", authorization: "Basic ZnJl\rZDpw", reason: authz.MalformedCredential},
		{name: "Basic, no colon", authorization: "Basic {b64 fred}", reason: authz.MalformedCredential},
		{name: "Basic twice", authorization: "Basic {b64 fred:a},Basic {b64 fred:b}", reason: authz.MalformedCredential},
		{name: "Basic and Bearer", authorization: "Basic {b64 fred:a},Bearer {fred}", reason: authz.MalformedCredential},
		{name: "Bearer and Basic", authorization: "Bearer {fred},Basic {b64 fred:a}", reason: authz.MalformedCredential},
		{name: "a second one behind another scheme", authorization: "Negotiate YII=, basic {b64 fred:a}", reason: authz.MalformedCredential},
		{name: "a second one behind nothing", authorization: ",Bearer abc", reason: authz.MalformedCredential},
		{name: "Bearer without anything", authorization: "Bearer", reason: authz.MalformedCredential},
		{name: "Bearer with a space in it", authorization: "Bearer abc def", reason: authz.MalformedCredential},
		{name: "token as Basic user name", authorization: "Basic {b64 {fred}:}", reason: authz.MalformedCredential},
		{name: "broken token as Basic user name", authorization: "Basic {b64 tgate_abc:x}", reason: authz.MalformedCredential},
		{name: "token as user name and password", authorization: "Basic {b64 {fred}:{fred}}", reason: authz.MalformedCredential},
		{name: "token within a password", authorization: "Basic {b64 fred: {fred}}", reason: authz.MalformedCredential},
		{name: "token within a password, not at its end", authorization: "Basic {b64 fred:a-{fred}-b}", reason: authz.MalformedCredential},
		{name: "token within a Basic user name", authorization: "Basic {b64 x{fred}:pw}", reason: authz.MalformedCredential},
		{name: "token within a Bearer", authorization: "Bearer x{fred}", reason: authz.MalformedCredential},
		{name: "token under another scheme", authorization: "Token {fred}", reason: authz.MalformedCredential},
		{name: "broken token under another scheme", authorization: "Token tgate_abc", reason: authz.MalformedCredential},
		{name: "token within another scheme's payload", authorization: "Negotiate x{fred}", reason: authz.MalformedCredential},
		{name: "token without a scheme", authorization: "{fred}", reason: authz.MalformedCredential},
		{name: "broken token without a scheme", authorization: "tgate_abc", reason: authz.MalformedCredential},
		{name: "token in an OAuth parameter", authorization: `OAuth oauth_token="{fred}"`, reason: authz.MalformedCredential},
		{name: "token in the query while that is off", path: "/rest/x?access_token={fred}", reason: authz.MalformedCredential},
		{name: "token as a query name", path: "/rest/x?{fred}", reason: authz.MalformedCredential},
		{name: "token under no name", path: "/rest/x?={fred}", reason: authz.MalformedCredential},
		{name: "token in another parameter", path: "/rest/x?token={fred}", config: query, reason: authz.MalformedCredential},
		{name: "token in the query, encoded", path: "/rest/x?a=tgate%5f" + "{fred tail}", reason: authz.MalformedCredential},
		{name: "token in the path", path: "/rest/{fred}", reason: authz.MalformedCredential},
		{name: "token in the path, encoded", path: "/rest/tgate%5F{fred tail}", reason: authz.MalformedCredential},
		{name: "two tokens in the query", path: "/rest/x?access_token={fred}&access_token={fred}", config: query, reason: authz.MalformedCredential},
		{name: "token in query and header", path: "/rest/x?access_token={fred}", authorization: "Bearer {fred}", config: query, reason: authz.MalformedCredential},
		{name: "token in query, password in header", path: "/rest/x?access_token={fred}", authorization: "Basic {b64 fred:pw}", config: query, reason: authz.MalformedCredential},
		{name: "token in query, Negotiate in header", path: "/rest/x?access_token={fred}", authorization: "Negotiate YII=", config: query, reason: authz.MalformedCredential},
		{name: "password in query and header", path: "/rest/x?os_username=a", authorization: "Basic {b64 fred:pw}", reason: authz.MalformedCredential},
		{name: "password in query beside a Bearer", path: "/rest/x?os_password=a", authorization: "Bearer abc", reason: authz.MalformedCredential},
		{name: "malformed, though passwords are blocked", authorization: "Basic {b64 fred:pw}", path: "/?os_password=a", config: block, reason: authz.MalformedCredential},
		{name: "malformed, though it is a blocked login", method: "POST", path: "/rest/auth/1/session", authorization: "Basic !", config: block, reason: authz.MalformedCredential},
		{name: "malformed, though foreign Bearers are refused", authorization: "Bearer a b", config: refuseForeign, reason: authz.MalformedCredential},

		// passwords blocked.
		{name: "Basic, blocked", authorization: "Basic {b64 fred:pw}", config: block, reason: authz.PasswordBlocked},
		{name: "Basic, blocked outside REST", authorization: "bAsIc {b64 fred:pw}", path: "/secure/Dashboard.jspa", config: block, reason: authz.PasswordBlocked},
		{name: "Basic, blocked on an ambiguous path", authorization: "Basic {b64 fred:pw}", path: "/rest/usermanagement/1;x", config: block, reason: authz.PasswordBlocked},
		{name: "upper-case prefix is a password", authorization: "Basic {b64 fred:TGATE_x}", config: block, reason: authz.PasswordBlocked},
		{name: "session login", method: "POST", path: "/rest/auth/1/session", config: block, reason: authz.PasswordBlocked},
		{name: "session login, latest", method: "POST", path: "/jira/rest/auth/latest/session?x=1", config: block, reason: authz.PasswordBlocked},
		{name: "session login, slash and suffix", method: "POST", path: "/rest/auth/1/session.json/", config: block, reason: authz.PasswordBlocked},
		{name: "session login, suffix behind the slash", method: "POST", path: "/rest/auth/1/session/.json", config: block, reason: authz.PasswordBlocked},
		{name: "session login, parameters", method: "POST", path: "/rest;x/auth;/1;y=z/session;jsessionid=1", config: block, reason: authz.MalformedCredential},
		{name: "session login, dots", method: "POST", path: "/secure/..;/rest/./auth//1/x/%2e%2e/session", config: block, reason: authz.MalformedCredential},
		{name: "session login, escaped", method: "POST", path: "/%72est/auth/1/s%65ssion", config: block, reason: authz.MalformedCredential},
		{name: "session login, encoded slash", method: "POST", path: "/rest%2fauth/1%5csession", config: block, reason: authz.MalformedCredential},
		{name: "session login, backslashes", method: "POST", path: "/../x/../../rest\\auth%5c1/session", config: block, reason: authz.MalformedCredential},
		{name: "session login, suffix behind a slash", method: "POST", path: "/rest/auth/1/session/.json", config: block, reason: authz.PasswordBlocked},
		{name: "session login, suffix behind a slash, rewritten", method: "POST", path: "/s/x/_/rest/auth/latest/session//.xml/", config: block, reason: authz.MalformedCredential},
		{name: "session login, rewritten", method: "POST", path: "/s/abc/_/rest/auth/1/session", config: block, reason: authz.PasswordBlocked},
		{name: "session login, odd method", method: "post", path: "/rest/auth/1/session", config: block, reason: authz.PasswordBlocked},
		{name: "session login, overridden method", path: "/rest/auth/1/session", header: map[string]string{"x-http-method-override": "POST"}, config: block, reason: authz.PasswordBlocked},
		{name: "session login beside a foreign Bearer", method: "POST", path: "/rest/auth/1/session", authorization: "Bearer abc", config: block, reason: authz.PasswordBlocked},
		{name: "session login beside Negotiate", method: "POST", path: "/rest/auth/1/session", authorization: "Negotiate abc", config: block, reason: authz.PasswordBlocked},
		{name: "password in the query beside Negotiate", path: "/?os_password=pw", authorization: "Negotiate abc", config: block, reason: authz.PasswordBlocked},
		{name: "session login beside a Bearer that is refused too", method: "POST", path: "/rest/auth/1/session", authorization: "Bearer abc", config: both(block, refuseForeign), reason: authz.PasswordBlocked},
		{name: "os_username", path: "/?os_username=fred&os_password=pw", config: block, reason: authz.PasswordBlocked},
		{name: "os_password, encoded name", path: "/?os%5Fpassword=pw", config: block, reason: authz.PasswordBlocked},
		{name: "user not exempt", authorization: "Basic {b64 fred:pw}", config: both(block, allowUser("wilma")), reason: authz.PasswordBlocked},
		{name: "path not exempt", authorization: "Basic {b64 fred:pw}", path: "/rest/usermanagementx/1", config: block, reason: authz.PasswordBlocked},
		{name: "network not exempt", authorization: "Basic {b64 fred:pw}", config: both(block, allowNetwork("10.2.0.0/16")), reason: authz.PasswordBlocked},
		{name: "network unknown", authorization: "Basic {b64 fred:pw}", client: "none", config: both(block, allowNetwork("0.0.0.0/0")), reason: authz.PasswordBlocked},
		{name: "login over REST hides its user", method: "POST", path: "/rest/auth/1/session", authorization: "Basic {b64 fred:pw}", config: both(block, allowUser("fred")), reason: authz.PasswordBlocked},
		{name: "two user names", path: "/?os_username=fred&os_username=wilma", config: both(block, allowUser("fred")), reason: authz.PasswordBlocked},
		{name: "exempt path, outside the context", authorization: "Basic {b64 fred:pw}", path: "/rest/usermanagement/1", config: both(block, context), reason: authz.PasswordBlocked},
		{name: "exempt everywhere, outside the context", authorization: "Basic {b64 fred:pw}", config: both(block, context, allowPath("*")), reason: authz.PasswordBlocked},
		{name: "exempt everywhere, nearly the context", authorization: "Basic {b64 fred:pw}", path: "/jirax", config: both(block, context, allowPath("*")), reason: authz.PasswordBlocked},
		{name: "exempt everywhere, ambiguous", authorization: "Basic {b64 fred:pw}", path: "/rest/x;y", config: both(block, allowPath("*")), reason: authz.PasswordBlocked},
		{name: "exempt path, rewritten", authorization: "Basic {b64 crowd:pw}", path: "/s/x/_/rest/usermanagement/1", config: block, reason: authz.PasswordBlocked},
		{name: "exempt path, rewritten twice", authorization: "Basic {b64 crowd:pw}", path: "/s/x/_/y/_/rest/usermanagement/1", config: block, reason: authz.PasswordBlocked},
		{name: "exempt path, rewritten from another", authorization: "Basic {b64 crowd:pw}", path: "/s/rest/usermanagement/1/_/rest/x", config: block, reason: authz.PasswordBlocked},

		// passwords forwarded.
		{name: "Basic, allowed", authorization: "Basic {b64 fred:pw}", outcome: passed, reason: authz.Password},
		{name: "Basic with an empty user", authorization: "Basic {b64 :pw}", outcome: passed, reason: authz.Password},
		{name: "Basic, observed", authorization: "Basic {b64 fred:pw}", config: observe, outcome: passed, reason: authz.Password, observe: true},
		{name: "Basic, observed but exempt", authorization: "Basic {b64 fred:pw}", config: both(observe, allowUser("FRED")), outcome: passed, reason: authz.Password},
		{name: "session login, allowed", method: "POST", path: "/rest/auth/1/session", outcome: passed, reason: authz.Password},
		{name: "session login beside a foreign Bearer, observed", method: "POST", path: "/rest/auth/1/session", authorization: "Bearer abc", config: observe, outcome: passed, reason: authz.OtherBearer, observe: true},
		{name: "exempt user", authorization: "Basic {b64 Fred:pw}", config: both(block, allowUser("fRED")), outcome: passed, reason: authz.Password},
		{name: "exempt everybody", authorization: "Basic {b64 x:pw}", config: both(block, allowUser("*")), outcome: passed, reason: authz.Password},
		{name: "exempt user in the query", path: "/?os_username=fr%65d&os_password=pw", config: both(block, allowUser("fred")), outcome: passed, reason: authz.Password},
		{name: "exempt path", authorization: "Basic {b64 crowd:pw}", path: "/rest/usermanagement/1/search?x", config: block, outcome: passed, reason: authz.Password},
		{name: "exempt path in a context", authorization: "Basic {b64 crowd:pw}", path: "/jira/rest/usermanagement/1/search", config: both(block, context), outcome: passed, reason: authz.Password},
		{name: "exempt network", authorization: "Basic {b64 fred:pw}", config: both(block, allowNetwork("10.1.0.0/16")), outcome: passed, reason: authz.Password},
		{name: "exempt login path", method: "POST", path: "/rest/auth/1/session", config: both(block, allowPath("/rest/auth/*")), outcome: passed, reason: authz.Password},

		// other Bearer credentials.
		{name: "native PAT", authorization: "Bearer MDEyMzQ1Njc4OTo=", outcome: passed, reason: authz.OtherBearer, config: block},
		{name: "native PAT, refused", authorization: "bearer MDEyMzQ1Njc4OTo=", config: refuseForeign, reason: authz.OtherBearer},
		{name: "native PAT, refused beside an observed login", authorization: "Bearer abc", method: "POST", path: "/rest/auth/1/session", config: both(observe, refuseForeign), reason: authz.OtherBearer},
		{name: "native PAT, refused beside a login", authorization: "Bearer abc", method: "POST", path: "/rest/auth/1/session", config: refuseForeign, reason: authz.OtherBearer},

		// unknown or wrong tokens.
		{name: "broken token", authorization: "Bearer tgate_", reason: authz.MalformedToken},
		{name: "broken token as password", authorization: "Basic {b64 fred:tgate_hello}", config: block, reason: authz.MalformedToken},
		{name: "cut token", authorization: "Bearer {fred cut}", reason: authz.MalformedToken},
		{name: "broken management token", authorization: "Bearer tgadm_x", reason: authz.MalformedToken},
		{name: "stale index", authorization: "Bearer {fred}", later: tokensStaleAfter, reason: authz.IndexStale},
		{name: "stale index, a token that may be new", authorization: "Bearer {unknown}", later: tokensStaleAfter, reason: authz.IndexStale},
		{name: "stale index, a secret that may be new", authorization: "Bearer {fred forged}", later: tokensStaleAfter, reason: authz.IndexStale},
		{name: "stale index, a token that may be enabled", authorization: "Bearer {disabled}", later: tokensStaleAfter, reason: authz.IndexStale},
		{name: "unknown", authorization: "Bearer {unknown}", reason: authz.UnknownToken},
		{name: "revoked", authorization: "Bearer {revoked}", reason: authz.UnknownToken},
		{name: "unknown management token", authorization: "Bearer {unknown management}", reason: authz.UnknownToken},
		{name: "ordinary token with a management token's secret", authorization: "Bearer {posing ordinary}", reason: authz.UnknownToken},
		{name: "management token, with a name", authorization: "Basic {b64 fred:{management}}", path: "/rest/api-tokens/latest/", reason: authz.WrongUser},
		{name: "management token with an ordinary token's secret", authorization: "Bearer {posing}", reason: authz.UnknownToken},
		{name: "neither secret in the overlap", authorization: "Bearer {overlapping forged}", reason: authz.WrongSecret},
		{name: "no secret but the new one", authorization: "Bearer {fred forged}", reason: authz.WrongSecret},
		{name: "overlap over", authorization: "Bearer {overlapped old}", reason: authz.WrongSecret},
		{name: "wrong user", authorization: "Basic {b64 wilma:{fred}}", reason: authz.WrongUser, user: "Fred"},
		{name: "no user", authorization: "Basic {b64 :{fred}}", reason: authz.WrongUser, user: "Fred"},
		{name: "user with a space", authorization: "Basic {b64 fred :{fred}}", reason: authz.WrongUser, user: "Fred"},

		// the state of the token.
		{name: "expired this second", authorization: "Bearer {expired}", reason: authz.Expired, user: "Fred"},
		{name: "expires in a second", authorization: "Bearer {expiring}", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "disabled", authorization: "Bearer {disabled}", reason: authz.Disabled, user: "Fred"},
		{name: "pending", authorization: "Bearer {pending}", reason: authz.Pending, user: "Fred"},
		{name: "in no state", authorization: "Bearer {stateless}", reason: authz.Disabled, user: "Fred"},

		// no address.
		{name: "no address", authorization: "Bearer {fred}", client: "none", reason: authz.NoClientAddress, user: "Fred"},
		// stale directory.
		{name: "stale directory", authorization: "Bearer {fred}", later: staleAfter, reason: authz.DirectoryStale, user: "Fred"},
		{name: "nothing is known of the owner", authorization: "Bearer {unheard-of}", reason: authz.DirectoryStale, user: "Fred"},
		{name: "stale directory, owner gone", authorization: "Bearer {gone}", later: staleAfter, reason: authz.DirectoryStale, user: "Gone"},
		{name: "stale directory, a browser", path: "/secure/Dashboard.jspa", later: staleAfter, outcome: passed, reason: authz.NoCredential},
		{name: "stale directory, a password", authorization: "Basic {b64 fred:pw}", later: staleAfter, outcome: passed, reason: authz.Password},
		{name: "directory about to be stale", authorization: "Bearer {fred}", later: staleAfter - 1, outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "stale directory, a management token", authorization: "Bearer {management}", path: "/rest/api-tokens/latest/all", later: staleAfter, outcome: passed, reason: authz.ManagementPath},

		// the owner.
		{name: "owner unknown or inactive", authorization: "Bearer {gone}", reason: authz.OwnerInactive, user: "Gone"},
		{name: "the owner's name now belongs to another user", authorization: "Bearer {another user's name}", reason: authz.OwnerInactive, user: "Fred"},
		{name: "owner may not use tokens", authorization: "Bearer {banned}", reason: authz.OwnerNotPermitted, user: "Fred"},

		// the owner's upstream credential.
		{name: "not connected", authorization: "Bearer {fred}", config: withPATs, reason: authz.NoUpstreamCredential, user: "Fred"},
		{name: "connection broken", authorization: "Bearer {broken}", config: withPATs, reason: authz.UpstreamCredentialBroken, user: "Fred"},
		{name: "connected", authorization: "Bearer {connected}", config: withPATs, outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "not needed with a header", authorization: "Bearer {broken}", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "not connected, a management token", authorization: "Bearer {management}", path: "/rest/api-tokens/latest/all", config: withPATs, outcome: passed, reason: authz.ManagementPath},
		{name: "not connected, a browser", path: "/secure/Dashboard.jspa", config: withPATs, outcome: passed, reason: authz.NoCredential},
		{name: "not connected, a native PAT", authorization: "Bearer NDIxMjM0NTY3ODkw", config: withPATs, outcome: passed, reason: authz.OtherBearer},

		{name: "user administration with a personal access token", authorization: "Bearer {connected}", method: "POST", path: "/rest/api/2/user", config: withPATs, reason: authz.EndpointForbidden, detail: authz.ClosedAdministration, user: "Fred"},
		{name: "groups, in another spelling", authorization: "Bearer {connected}", method: "POST", path: "/rest/api/latest/group/user.json", config: withPATs, reason: authz.EndpointForbidden, detail: authz.ClosedAdministration, user: "Fred"},
		{name: "a user is read", authorization: "Bearer {connected}", path: "/rest/api/2/user?username=wilma", config: withPATs, outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "administration by Jira's own pages", authorization: "Bearer {connected}", method: "POST", path: "/rest/workflowDesigner/latest/workflows", config: withPATs, reason: authz.EndpointForbidden, detail: authz.ClosedAdministration, user: "Fred"},
		{name: "what Jira's own pages read", authorization: "Bearer {connected}", path: "/rest/projectconfig/1/workflowscheme/DEMO", config: withPATs, outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "administration is read", authorization: "Bearer {connected}", path: "/rest/api/2/application-properties", config: withPATs, reason: authz.EndpointForbidden, detail: authz.ClosedAdministration, user: "Fred"},
		{name: "a resource with a similar name", authorization: "Bearer {connected}", path: "/rest/api/2/indexes", config: withPATs, outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "administration is opened", authorization: "Bearer {connected}", method: "POST", path: "/rest/api/2/user", config: func(c *config.Config) { withPATs(c); c.Upstream.Identity.PAT.Administration = true }, outcome: admitted, reason: authz.TokenAllowed, user: "Fred", write: true},
		{name: "administration with a header", authorization: "Bearer {fred}", method: "POST", path: "/rest/api/2/user", outcome: admitted, reason: authz.TokenAllowed, user: "Fred", write: true},
		{name: "OAuth parameters with a personal access token", authorization: "Bearer {connected}", path: "/rest/api/2/search?jql=a&oauth_token=&xoauth_requestor_id=admin&b", config: withPATs, outcome: admitted, reason: authz.TokenAllowed, user: "Fred", newPath: "/rest/api/2/search?jql=a&b"},
		{name: "OAuth parameters, escaped", authorization: "Bearer {connected}", path: "/rest/api/2/search?xoauth%5Frequestor_id=admin", config: withPATs, reason: authz.AmbiguousPath, detail: authz.HiddenName, user: "Fred"},
		{name: "OAuth parameters with a header", authorization: "Bearer {fred}", path: "/rest/api/2/search?oauth_token=", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},

		// ambiguous.
		{name: "path parameter", authorization: "Bearer {fred}", path: "/rest;x/api/2/myself", reason: authz.AmbiguousPath, user: "Fred"},
		{name: "session in the path", authorization: "Bearer {fred}", path: "/rest/api/2/myself;jsessionid=AB12", reason: authz.AmbiguousPath, user: "Fred"},
		{name: "empty segment", authorization: "Bearer {fred}", path: "//rest/api/2/myself", reason: authz.AmbiguousPath, user: "Fred"},
		{name: "dot segment", authorization: "Bearer {fred}", path: "/rest/../secure/x", reason: authz.AmbiguousPath, user: "Fred"},
		{name: "dot at the end", authorization: "Bearer {fred}", path: "/rest/.", reason: authz.AmbiguousPath, user: "Fred"},
		{name: "escaped letter", authorization: "Bearer {fred}", path: "/%72est/api", reason: authz.AmbiguousPath, user: "Fred"},
		{name: "escaped slash", authorization: "Bearer {fred}", path: "/rest%2Fapi", reason: authz.AmbiguousPath, user: "Fred"},
		{name: "bad escape", authorization: "Bearer {fred}", path: "/rest/%zz", reason: authz.AmbiguousPath, user: "Fred"},
		{name: "raw byte", authorization: "Bearer {fred}", path: "/rest/\xe9", reason: authz.AmbiguousPath, user: "Fred"},
		{name: "no leading slash", authorization: "Bearer {fred}", path: "rest/api", reason: authz.AmbiguousPath, user: "Fred"},
		{name: "disguised os_username", authorization: "Bearer {fred}", path: "/rest/x?os%5fusername=a", reason: authz.AmbiguousPath, user: "Fred"},
		{name: "disguised token parameter", authorization: "Bearer {fred}", path: "/rest/x?access%5ftoken=a", config: query, reason: authz.AmbiguousPath, user: "Fred"},
		{name: "a query that cannot go out as it came", authorization: "Bearer {fred}", path: "/rest/x?os_a=1&b=\xc3\xa9", reason: authz.AmbiguousPath, user: "Fred"},
		{name: "a byte that HTTP/2 may hide", authorization: "Bearer {fred}", path: "/rest/x?os_a=1&b=!", protocol: "HTTP/2", reason: authz.AmbiguousPath, user: "Fred"},
		{name: "the same without a known protocol", authorization: "Bearer {fred}", path: "/rest/!?os_a=1", reason: authz.AmbiguousPath, user: "Fred"},
		{name: "HTTP/1 hides none", authorization: "Bearer {fred}", path: "/rest/!?os_a=1&b=!", protocol: "HTTP/1.1", outcome: admitted, reason: authz.TokenAllowed, user: "Fred", newPath: "/rest/!?b=!"},
		{name: "nothing to take out", authorization: "Bearer {fred}", path: "/rest/!?b=!", protocol: "HTTP/2", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "rewritten twice", authorization: "Bearer {fred}", path: "/s/x/_/y/_/rest/api/2/myself", reason: authz.AmbiguousPath, user: "Fred"},

		// networks.
		{name: "denied network", authorization: "Bearer {fred}", config: func(c *config.Config) { c.Network.Deny = prefixes("10.1.2.0/24") }, reason: authz.NetworkDenied, user: "Fred"},
		{name: "deny beats allow", authorization: "Bearer {office}", config: func(c *config.Config) {
			c.Network.Allow, c.Network.Deny = prefixes("10.1.2.3/32"), prefixes("10.0.0.0/8")
		}, reason: authz.NetworkDenied, user: "Fred"},
		{name: "not in the allowed networks", authorization: "Bearer {fred}", config: func(c *config.Config) { c.Network.Allow = prefixes("10.2.0.0/16") }, reason: authz.NetworkDenied, user: "Fred"},
		{name: "no network allowed", authorization: "Bearer {fred}", config: func(c *config.Config) { c.Network.Allow = nil }, reason: authz.NetworkDenied, user: "Fred"},
		{name: "not the token's network", authorization: "Bearer {office}", client: "10.2.0.1", reason: authz.NetworkNotAllowed, user: "Fred"},
		{name: "not the token's network, IPv6", authorization: "Bearer {office}", client: "2001:db9::1", reason: authz.NetworkNotAllowed, user: "Fred"},
		{name: "the token's network", authorization: "Bearer {office}", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "the token's network, IPv6", authorization: "Bearer {office}", client: "2001:db8::1", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},

		// management paths.
		{name: "management token", authorization: "Bearer {management}", path: "/rest/api-tokens/latest/all", outcome: passed, reason: authz.ManagementPath},
		{name: "management token, in a context", authorization: "Bearer {management}", path: "/jira/rest/api-tokens/latest/all", config: context, outcome: passed, reason: authz.ManagementPath},
		{name: "management token, writing", authorization: "Bearer {management}", method: "POST", path: "/rest/api-tokens/latest/", outcome: passed, reason: authz.ManagementPath},
		{name: "management token goes on as it came", authorization: "Bearer {management}", path: "/rest/api-tokens/latest/all?os_authType=basic", outcome: passed, reason: authz.ManagementPath},
		{name: "management token at Jira's door", authorization: "Bearer {management}", reason: authz.WrongTokenType},
		{name: "management token, all paths opened", authorization: "Bearer {management}", path: "/x", config: openAll, reason: authz.WrongTokenType},
		{name: "management token, rewritten path", authorization: "Bearer {management}", path: "/s/x/_/rest/api-tokens/latest/all", reason: authz.WrongTokenType},
		{name: "management token, ambiguous path", authorization: "Bearer {management}", path: "/rest/api-tokens/latest/all;x", reason: authz.AmbiguousPath},
		{name: "management token, suffix that Jira drops", authorization: "Bearer {management}", path: "/rest/api-tokens.json", reason: authz.WrongTokenType},
		{name: "management token, another suffix", authorization: "Bearer {management}", path: "/rest/api-tokens.atom?x", reason: authz.WrongTokenType},
		{name: "management token, suffix below the path", authorization: "Bearer {management}", path: "/rest/api-tokens/latest.json", outcome: passed, reason: authz.ManagementPath},
		{name: "management token, suffix behind a slash", authorization: "Bearer {management}", path: "/rest/api-tokens/.json", outcome: passed, reason: authz.ManagementPath},
		{name: "management token, escaped hyphen", authorization: "Bearer {management}", path: "/rest/api%2Dtokens/latest/all", reason: authz.WrongTokenType},
		{name: "management token, only beginning alike", authorization: "Bearer {management}", path: "/rest/api-tokens-x/latest", reason: authz.WrongTokenType},
		{name: "management token, suffix of the page", authorization: "Bearer {management}", path: "/plugins/servlet/api-tokens.json", reason: authz.WrongTokenType},
		{name: "management token, suffix in a context", authorization: "Bearer {management}", path: "/jira/rest/api-tokens.xml", config: context, reason: authz.WrongTokenType},
		{name: "management token, outside the context", authorization: "Bearer {management}", path: "/rest/api-tokens/latest/all", config: context, reason: authz.WrongTokenType},
		{name: "management token, context without its slash", authorization: "Bearer {management}", path: "/jirarest/api-tokens/latest/all", config: context, reason: authz.WrongTokenType},
		{name: "ordinary token, suffix that Jira drops", authorization: "Bearer {fred}", path: "/rest/api-tokens.json", reason: authz.WrongTokenType, user: "Fred"},
		{name: "ordinary token, all paths opened, escaped hyphen", authorization: "Bearer {fred}", path: "/rest/api%2Dtokens", config: openAll, reason: authz.WrongTokenType, user: "Fred"},
		{name: "management token from elsewhere", authorization: "Bearer {management}", path: "/rest/api-tokens/latest/all", client: "192.0.2.1", reason: authz.NetworkNotAllowed},
		{name: "management token that expired", authorization: "Bearer {management over}", path: "/rest/api-tokens/latest/all", reason: authz.Expired},
		{name: "management API", authorization: "Bearer {fred}", path: "/rest/api-tokens/latest/", reason: authz.WrongTokenType, user: "Fred"},
		{name: "management API, bare", authorization: "Bearer {fred}", path: "/rest/api-tokens", reason: authz.WrongTokenType, user: "Fred"},
		{name: "management page", authorization: "Bearer {fred}", path: "/jira/plugins/servlet/api-tokens/x", config: context, reason: authz.WrongTokenType, user: "Fred"},
		{name: "management API, rewritten, is Jira's", authorization: "Bearer {fred}", path: "/s/x/_/rest/api-tokens/latest/", reason: authz.PathNotAllowed, user: "Fred"},

		// paths and endpoints.
		{name: "outside REST", authorization: "Bearer {fred}", path: "/secure/Dashboard.jspa", reason: authz.PathNotAllowed, user: "Fred"},
		{name: "REST in capitals", authorization: "Bearer {fred}", path: "/REST/api/2/myself", reason: authz.PathNotAllowed, user: "Fred"},
		{name: "nearly REST", authorization: "Bearer {fred}", path: "/restx/api", reason: authz.PathNotAllowed, user: "Fred"},
		{name: "rewritten REST", authorization: "Bearer {fred}", path: "/s/x/_/rest/api/2/myself", reason: authz.PathNotAllowed, user: "Fred"},
		{name: "outside the context", authorization: "Bearer {fred}", config: context, reason: authz.PathNotAllowed, user: "Fred"},
		{name: "nearly the context", authorization: "Bearer {fred}", path: "/jirax/rest/api", config: context, reason: authz.PathNotAllowed, user: "Fred"},
		{name: "outside the context, all paths opened", authorization: "Bearer {fred}", config: both(context, openAll), reason: authz.PathNotAllowed, user: "Fred"},
		{name: "nearly the context, all paths opened", authorization: "Bearer {fred}", path: "/jirax", config: both(context, openAll), reason: authz.PathNotAllowed, user: "Fred"},
		{name: "rewritten, all paths opened", authorization: "Bearer {fred}", path: "/s/x/_/rest/api/2/myself", config: openAll, reason: authz.PathNotAllowed, user: "Fred"},
		{name: "anywhere, all paths opened", authorization: "Bearer {fred}", path: "/x", config: openAll, outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "opened path", authorization: "Bearer {fred}", path: "/secure/attachment/1/a%20b.txt", config: both(openPath("/secure/attachment/"), noDownloads), outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "PAT API", authorization: "Bearer {fred}", path: "/rest/pat/latest/tokens", reason: authz.EndpointForbidden, user: "Fred"},
		{name: "session API by POST", authorization: "Bearer {fred}", method: "POST", path: "/rest/auth/1/session", config: block, reason: authz.EndpointForbidden, user: "Fred"},
		{name: "logout", authorization: "Bearer {fred}", method: "DELETE", path: "/rest/auth/1/session", reason: authz.SessionKept, user: "Fred"},
		{name: "logout, alias and suffix", authorization: "Bearer {fred}", method: "DELETE", path: "/rest/auth/latest/session.json/", reason: authz.SessionKept, user: "Fred"},
		{name: "logout, read-only", authorization: "Bearer {reader}", method: "DELETE", path: "/rest/auth/1/session", reason: authz.SessionKept, user: "Fred"},
		{name: "logout, expired", authorization: "Bearer {expired}", method: "DELETE", path: "/rest/auth/1/session", reason: authz.Expired, user: "Fred"},
		{name: "logout, overridden", authorization: "Bearer {fred}", method: "DELETE", path: "/rest/auth/1/session", header: map[string]string{"x-method-override": "POST"}, reason: authz.EndpointForbidden, user: "Fred"},
		{name: "session API by GET", authorization: "Bearer {fred}", path: "/rest/auth/latest/session", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "session API by an overridden GET", authorization: "Bearer {fred}", path: "/rest/auth/1/session", header: map[string]string{"x-method-override": "POST"}, reason: authz.EndpointForbidden, user: "Fred"},
		{name: "websudo API", authorization: "Bearer {fred}", path: "/rest/auth/1/websudo", reason: authz.EndpointForbidden, user: "Fred"},
		{name: "access tokens, escaped hyphen", authorization: "Bearer {fred}", path: "/rest/access%2Dtokens/x", reason: authz.EndpointForbidden, user: "Fred"},
		{name: "application links", authorization: "Bearer {fred}", path: "/rest/applinks-oauth/1.0/x", reason: authz.EndpointForbidden, user: "Fred"},
		{name: "plugins", authorization: "Bearer {fred}", path: upm, reason: authz.EndpointForbidden, user: "Fred", newPath: "/rest/plugins/1.0/"},
		{name: "own account", authorization: "Bearer {fred}", method: "PUT", path: "/rest/api/latest/myself.json", reason: authz.EndpointForbidden, user: "Fred"},
		{name: "own account, suffix behind a slash", authorization: "Bearer {fred}", method: "PUT", path: "/rest/api/2/myself/.json", reason: authz.EndpointForbidden, user: "Fred"},
		{name: "own password, suffix behind a slash", authorization: "Bearer {fred}", method: "PUT", path: "/rest/api/2/user/password/.xml", reason: authz.EndpointForbidden, user: "Fred"},
		{name: "two-step verification", authorization: "Bearer {fred}", method: "POST", path: "/rest/tsv/1.0/authenticate", reason: authz.EndpointForbidden, user: "Fred"},
		{name: "own account, slash", authorization: "Bearer {fred}", method: "PUT", path: "/rest/api/2.0/myself/", reason: authz.EndpointForbidden, user: "Fred"},
		{name: "own account, overridden", authorization: "Bearer {fred}", method: "POST", path: "/rest/api/2/myself/password?_method=PUT", reason: authz.EndpointForbidden, user: "Fred"},
		{name: "someone's session", authorization: "Bearer {fred}", method: "DELETE", path: "/rest/api/2/user/session/wilma", reason: authz.EndpointForbidden, user: "Fred"},

		// read-only.
		{name: "read-only reads", authorization: "Bearer {reader}", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "read-only HEAD", authorization: "Bearer {reader}", method: "HEAD", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "read-only OPTIONS", authorization: "Bearer {reader}", method: "OPTIONS", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "read-only searches", authorization: "Bearer {reader}", method: "POST", path: "/rest/api/latest/search.json", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "read-only lists worklogs", authorization: "Bearer {reader}", method: "POST", path: "/rest/api/2/worklog/list?x", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "read-only POST", authorization: "Bearer {reader}", method: "POST", path: "/rest/api/2/issue", reason: authz.ReadOnly, user: "Fred"},
		{name: "read-only PUT where POST reads", authorization: "Bearer {reader}", method: "PUT", path: "/rest/api/2/search", reason: authz.ReadOnly, user: "Fred"},
		{name: "read-only, below search", authorization: "Bearer {reader}", method: "POST", path: "/rest/api/2/search/x", reason: authz.ReadOnly, user: "Fred"},
		{name: "read-only, lower-case method", authorization: "Bearer {reader}", path: "/rest/api/2/issue/A-1", method: "get", reason: authz.ReadOnly, user: "Fred"},
		{name: "read-only, unknown method", authorization: "Bearer {reader}", path: "/rest/api/2/issue/A-1", method: "FOO", reason: authz.ReadOnly, user: "Fred"},
		{name: "read-only, override", authorization: "Bearer {reader}", path: "/rest/api/2/issue/A-1", header: map[string]string{"x-http-method-override": "PUT"}, reason: authz.ReadOnly, user: "Fred"},
		{name: "read-only, method header", authorization: "Bearer {reader}", path: "/rest/api/2/issue/A-1", header: map[string]string{"x-http-method": "PUT"}, reason: authz.ReadOnly, user: "Fred"},
		{name: "read-only, method parameter", authorization: "Bearer {reader}", path: "/rest/x?%5Fmethod=PUT", reason: authz.ReadOnly, user: "Fred"},
		{name: "read-only, upgrade", authorization: "Bearer {reader}", path: "/rest/api/2/issue/A-1", header: map[string]string{"upgrade": "websocket"}, reason: authz.ReadOnly, user: "Fred"},
		{name: "read-only, overridden search", authorization: "Bearer {reader}", method: "POST", path: "/rest/api/2/search", header: map[string]string{"x-method-override": "PUT"}, reason: authz.ReadOnly, user: "Fred"},
		{name: "read-only on an opened path", authorization: "Bearer {reader}", path: "/secure/x/1", config: openPath("/secure/x/"), reason: authz.ReadOnly, detail: authz.ReadOnlyPath, user: "Fred"},
		{name: "read-only on a path opened to it", authorization: "Bearer {reader}", path: "/secure/x/1", config: both(openPath("/secure/x/"), func(c *config.Config) { c.Tokens.ReadOnlyPaths = []string{"/secure/x/"} }), outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},

		// rates.
		{name: "over the rate", authorization: "Bearer {spent}", reason: authz.RateLimited, user: "Fred"},
		{name: "nearly within the rate again", authorization: "Bearer {spent}", later: time.Minute - 1, reason: authz.RateLimited, user: "Fred"},
		{name: "within the rate again", authorization: "Bearer {spent}", later: time.Minute, outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "the first within the rate", authorization: "Bearer {rated}", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},

		// allowed.
		{name: "Bearer", authorization: "Bearer {fred}", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "bearer, spaces around", authorization: " bEARER {fred}\t", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "Basic", authorization: "BASIC {b64 fRED:{fred}}", outcome: admitted, reason: authz.TokenAllowed, user: "Fred", config: block},
		{name: "a write", authorization: "Bearer {fred}", method: "POST", path: "/rest/api/2/issue", outcome: admitted, reason: authz.TokenAllowed, user: "Fred", write: true},
		{name: "a write by override", authorization: "Bearer {fred}", header: map[string]string{"x-http-method": "PUT"}, path: "/rest/x", outcome: admitted, reason: authz.TokenAllowed, user: "Fred", write: true},
		{name: "new secret in the overlap", authorization: "Bearer {overlapping}", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "old secret in the overlap", authorization: "Bearer {overlapping old}", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "new secret after the overlap", authorization: "Bearer {overlapped}", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "in a context", authorization: "Bearer {fred}", path: "/jira/rest/api/2/myself", config: context, outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "rest itself", authorization: "Bearer {fred}", path: "/rest", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "what Jira rewrites begins with s", authorization: "Bearer {fred}", path: "/rest/s/x/_/rest/pat/1", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "harmless escapes", authorization: "Bearer {fred}", path: "/rest/api/2/a%20b%2Dc%3Bd%25%C3%A9", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "os_ parameters go", authorization: "Bearer {fred}", path: "/rest/x?b=2%2f&os_authType=basic&&a&os_username=x&c=", outcome: admitted, reason: authz.TokenAllowed, user: "Fred", newPath: "/rest/x?b=2%2f&&a&c="},
		{name: "the query stays as it is", authorization: "Bearer {fred}", path: "/rest/x?z=9&a=\xc3\xa9&&", outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "query parameter", path: "/rest/x?a=1&access_token={fred}", config: query, outcome: admitted, reason: authz.TokenAllowed, user: "Fred", newPath: "/rest/x?a=1"},
		{name: "query parameter, alone, encoded", path: "/rest/x?access_token=%74gate_{fred tail}", config: query, outcome: admitted, reason: authz.TokenAllowed, user: "Fred", newPath: "/rest/x"},
		{name: "query parameter beside a password", path: "/rest/x?access_token={fred}&os_password=b", config: both(query, block), outcome: admitted, reason: authz.TokenAllowed, user: "Fred", newPath: "/rest/x"},
		{name: "query parameter at the login", method: "POST", path: "/rest/auth/1/session?access_token={fred}", config: both(query, block), reason: authz.EndpointForbidden, user: "Fred", newPath: "/rest/auth/1/session"},
		{name: "a parameter of another application stays", authorization: "Bearer {fred}", path: "/rest/x?access_token=abc", config: query, outcome: admitted, reason: authz.TokenAllowed, user: "Fred"},
		{name: "passwords are nothing beside a token", authorization: "Bearer {fred}", path: "/rest/x?os_username=a&os_password=b", config: both(block, refuseForeign), outcome: admitted, reason: authz.TokenAllowed, user: "Fred", newPath: "/rest/x"},
	}
}

func context(c *config.Config)       { c.Upstream.ContextPath = "/jira" }
func refuseForeign(c *config.Config) { c.Bearer.Other = config.OtherBearerRefuse }

func openPath(pattern string) func(*config.Config) {
	return func(c *config.Config) { c.Tokens.Paths = append(c.Tokens.Paths, pattern) }
}

func noDownloads(c *config.Config) { c.Tokens.DownloadPaths = []string{} }

func readingPost(pattern string) func(*config.Config) {
	return func(c *config.Config) { c.Tokens.ReadingPosts = []string{pattern} }
}

func openAll(c *config.Config) { c.Tokens.Paths = []string{"/", "*"} }

func allowPath(pattern string) func(*config.Config) {
	return func(c *config.Config) { c.Passwords.AllowedPaths = []string{pattern} }
}

func allowUser(name string) func(*config.Config) {
	return func(c *config.Config) { c.Passwords.AllowedUsers = []string{name} }
}

func allowNetwork(network string) func(*config.Config) {
	return func(c *config.Config) { c.Passwords.AllowedNetworks = prefixes(network) }
}

// tails are parts of values for cases: the text after the prefix, and a value
// without its end.
func tails(value string) *strings.Replacer {
	return strings.NewReplacer("{fred tail}", value[len("tgate_"):], "{fred cut}", value[:60], "{fred secret}", value[:61])
}

// withPATs forwards requests with a credential of the token's owner.
func withPATs(c *config.Config) {
	c.Upstream.Identity = config.Identity{PAT: config.PATIdentity{SealKeys: []string{"/etc/tokengate/seal-key"}}}
}
