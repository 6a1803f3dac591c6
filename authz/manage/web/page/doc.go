// Package page shows API tokens to people in a browser, and takes their forms. It
// decides nothing: what somebody sees and may do is what the manager says, and who
// somebody is was found out before a request comes here.
//
// All of it works without JavaScript: forms are forms and each page has an address.
// The one script adds copying, dialogs, and filtering without a reload.
//
// A form that changes something carries a nonce that is good once, for one person
// and one address: sent again by a reload or a double click it changes nothing more.
// A token's value is on no page but the answer to the form that made it.
//
// All texts are in texts.go.
package page
