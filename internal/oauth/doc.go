// Package oauth decides every request at the OAuth endpoints: it reads and checks the form, proves which client is asking
// (client_secret_basic, client_secret_post, private_key_jwt), applies the policy on network, audience, scope and lifetime,
// and issues, revokes or introspects the access token. Each refusal is an *Error with a public text and a private reason.
//
// It is the only importer of fosite, and fosite does only the access-request and access-response flow here (fosite_*.go):
// it never sees the caller's form or assertions, stores nothing, and writes no answer. How answers are put on the wire is
// the work of package endpoints; what a token says and how it is signed is the work of packages tokens and keys.
package oauth
