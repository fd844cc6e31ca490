// Package web owns what every HTTP listener of Signet does, whatever it serves: request IDs, who the caller is behind
// trusted proxies, recovery from panics, security headers, problem+json, the server's limits against slow and
// huge requests, TLS certificates that reload, and the graceful end. What an OAuth error looks like belongs to package
// endpoints; which path exists belongs to the packages that serve it.
package web
