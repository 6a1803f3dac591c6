// Package web is the REST API over package manage: it decodes, hands over and
// encodes, and decides nothing.
//
// The API lies below /rest/api-tokens/latest/ and, the same, /rest/api-tokens/1.0/:
//
//	POST   /             create a token                CreateRequest → 200 IssuedToken
//	GET    /tokens       a page of tokens              ?user=&name=&state=&after=&limit= → 200 TokenPage
//	GET    /{id}         one token                     200 Token
//	POST   /{id}/rotate  a new secret                  RotateRequest → 200 IssuedToken
//	DELETE /{id}         revoke a token                204
//	POST   /explain      how a request would be decided  ExplainRequest → 200 Explanation
//
// Requests and answers are JSON. Errors have the shape of authz.Denial.
package web
