// Package adminapi is the admin API of a Signet server as Go sees it: the shapes that go over the wire, and a Client that
// speaks them over the server's Unix socket or over HTTP. The signet command line is made of it. The server's side lives in
// the server; nothing here imports it.
//
// Lifetimes are whole seconds, times are RFC 3339 in UTC, and a time that never comes is left out. An error of the server
// is a *Problem (RFC 9457).
package adminapi
