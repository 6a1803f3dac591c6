package envoy

import (
	"fmt"
	"html"
	"strings"

	"github.com/tokengate/tokengate/authz"
)

// localReply is the body of an answer that Envoy makes itself. The status is not
// changed.
type localReply struct {
	Why        string   // a comment in the configuration
	Conditions []string // access log filters, as YAML; all must match
	Text       string   // what happened and what to do; if empty, the body is not changed
}

// Response flags (Envoy docs, access log, %RESPONSE_FLAGS%) of upstream failures,
// before and after the request was sent.
const (
	notSent   = "UF, UH, UO, URX, DF, NC"
	maybeSent = "UC, UT, UR, LR, UPE"
)

// localReplies returns the replies of Envoy in front of the product with this title. The
// first one whose conditions match is used. Conditions on paths match only requests that
// Envoy has routed.
func localReplies(title string, managementPaths []string, healthPath string, anonymous *anonymousAnswer) []localReply {
	replies := []localReply{
		{
			"An error in this configuration, or a request that exceeds the limit with the headers added here.", []string{answered(500)},
			"The proxy in front of {product} could not handle this request, and {product} did not receive it. " +
				"If it has nearly 1,000 headers or nearly 60 KiB of them, send fewer. Otherwise tell an administrator to check Envoy's access log and to compare Envoy's configuration with tokengate's.",
		},
		{
			"tokengate's own denials are not changed.",
			[]string{
				flagged("UAEX"),
				"metadata_filter: {matcher: {filter: envoy.filters.http.ext_authz, path: [{key: reason}], value: {present_match: true}}, match_if_key_not_found: false}",
			},
			"",
		},
	}
	for _, path := range managementPaths {
		replies = append(replies, localReply{
			"tokengate's API and page are unavailable.",
			[]string{flagged(notSent + ", " + maybeSent), matching(fmt.Sprintf("name: %q, string_match: {prefix: %q}", ":path", path))},
			"tokengate, which manages API tokens in front of {product}, does not answer. {product} itself may be running. " +
				"Try again in a minute; if the error persists, tell an administrator that tokengate is down.",
		})
	}
	replies = append(replies,
		localReply{
			"The health check reports tokengate as not ready.",
			[]string{answered(503), matching(fmt.Sprintf("name: %q, string_match: {exact: %q}", ":path", healthPath))},
			"tokengate is not ready, so requests to {product} are answered with 503. {product} itself may be running. " +
				"If the error persists, tell an administrator that tokengate is down.",
		},
		localReply{
			"{product} cannot be reached.", []string{flagged(notSent)},
			"{product} cannot be reached, so the request was not sent to it. It may be restarting. " +
				"Try again in a minute; if the error persists, tell an administrator that {product} is down.",
		},
		localReply{
			"{product} stopped answering.", []string{flagged(maybeSent)},
			"{product} ended the connection before it answered, so it may or may not have done what the request asked for. " +
				"Check before you send it again; if this happens often, tell an administrator.",
		},
		localReply{
			"tokengate does not answer.", []string{flagged("UAEX"), answered(503)},
			"tokengate, which checks requests on their way to {product}, does not answer, so {product} did not receive the request. " +
				"{product} itself may be running. Try again in a minute; if the error persists, tell an administrator that tokengate is down.",
		},
		localReply{
			"An escaped slash, a malformed header, an invalid method or path, no host.", []string{answered(400)},
			"The request cannot be sent to {product} safely. The path must not contain an escaped slash or backslash " +
				"(%2F, %5C), a NUL (%00) or a fragment (#) and must begin with a slash, the request must name a host, and the method and the headers must follow HTTP. Correct the request.",
		},
		localReply{
			"An upgrade.", []string{answered(403)},
			"Connections cannot be upgraded to another protocol (WebSocket, h2c) on the way to {product}. Send the request without the Upgrade header.",
		},
		localReply{
			"CONNECT, and OPTIONS *.", []string{answered(404)},
			"This server forwards requests to {product} only. It is not a forward proxy and does not support CONNECT or OPTIONS *. Send the request to a path of {product}.",
		},
		localReply{
			"stream_idle_timeout while the body was sent.", []string{flagged("SI"), answered(408)},
			"Nothing of the request's body arrived for an hour, so the request was ended. {product} may have received a part of it. Check before you send it again.",
		},
		localReply{
			"request_headers_timeout.", []string{answered(408)},
			"The request's headers did not arrive within 10 seconds. Check the connection, and send the request again.",
		},
		localReply{
			"A body that is buffered for tokengate.", []string{answered(413)},
			"The body of a login may have at most 8 KiB. Send only the user name and the password in it.",
		},
		localReply{
			"Over the limits of header sizes and numbers.", []string{answered(431)},
			fmt.Sprintf("The request has more than %d headers or more than 60 KiB of them. The usual cause is cookies: "+
				"delete those of this site in the browser, or send fewer and shorter headers.", maxRequestHeaders),
		},
		localReply{
			"stream_idle_timeout.", []string{answered(504)},
			"Nothing was sent or received for an hour, so the request was ended. {product} may or may not have done what it asked for. Check before you send it again.",
		},
	)
	if anonymous != nil {
		replies = append(replies, localReply{
			"An answer that {product} made for nobody; see the marker route.", anonymous.conditions(), authz.UpstreamCredentialBroken.Text(),
		})
	}
	replies = append(replies,
		localReply{
			"All other errors.", []string{"status_code_filter: {comparison: {op: GE, value: {default_value: 400, runtime_key: tokengate.local_reply}}}"},
			"The proxy in front of {product} answered this request itself, with an error. Try again in a minute; if the error persists, tell an administrator to check Envoy's access log.",
		})
	product := strings.NewReplacer("{product}", title)
	for i, r := range replies {
		replies[i].Why, replies[i].Text = product.Replace(r.Why), product.Replace(r.Text)
	}
	return replies
}

func flagged(names string) string { return "response_flag_filter: {flags: [" + names + "]}" }

func matching(matcher string) string { return "header_filter: {header: {" + matcher + "}}" }

func answered(code int) string {
	return fmt.Sprintf("status_code_filter: {comparison: {op: EQ, value: {default_value: %d, runtime_key: tokengate.local_reply}}}", code)
}

// JSON returns the body for API clients, in Envoy's format language.
func (r localReply) JSON() string { return literal(string(authz.Denial(r.Text))) }

// HTML returns the page for browsers, in Envoy's format language. It contains
// nothing from the request. title is the product's.
func (r localReply) HTML(title string) string {
	return literal(`<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>` + html.EscapeString(title) + `</title>` +
		`<meta name="viewport" content="width=device-width"></head>` +
		`<body style="font-family:sans-serif;line-height:1.5;max-width:40em;margin:3em auto;padding:0 1em">` +
		`<h1 style="font-size:1.3em">This page could not be shown</h1><p>` + html.EscapeString(r.Text) + `</p></body></html>` + "\n")
}

// literal escapes text for Envoy's format language.
func literal(text string) string { return strings.ReplaceAll(text, "%", "%%") }
