// Package web is the REST API over package manage: it finds out who is calling,
// decodes, hands over and encodes. What somebody may do is up to the manager.
//
// The API lies below /rest/api-tokens/latest/ and, the same, /rest/api-tokens/1.0/.
// It is described in openapi.yaml, which it serves itself. The shapes of
//
//	GET    /      the caller's own tokens
//	POST   /      create a token
//	DELETE /{id}  revoke a token
//	DELETE /all   revoke all of a user's tokens
//	GET    /all   everybody's tokens, by user
//
// are those that clients of other API tokens for Jira know: what is in theirs is
// in these under the same names and in the same form.
//
// New serves people and automation behind Envoy, and people's browsers with the pages
// of package page, for whom it finds out in the same way who they are. Admin serves
// the admin socket.
//
// Requests and answers are JSON; listings are CSV, too. Errors have the shape of
// authz.Denial. Nothing may be kept by a cache, so no answer names what it varies
// by; none may be read by a page of another site.
package web
