// Package doctest keeps the documents true. Its tests run the commands that README.md and docs/*.md show, compile and run
// their programs, and look up every command, flag, option, environment variable, metric, test and link that they name.
//
// What runs is a fenced block below an HTML comment that readers do not see:
//
//	<!-- test -->           sh: in one bash for the whole document, beside a running `signet dev`
//	<!-- test install -->   sh: the same on a machine of its own where nothing runs yet: no dev server, and /etc/signet,
//	                        /var/lib/signet and /var/backups/signet are below a temporary directory
//	<!-- test verifier -->  go, js, python: a program that gets a token as its argument; it must accept one for its
//	                        audience and refuse those that it must not take
//	<!-- test -->           yaml: a part of a configuration, to which `signet config check` has no objection
//
// What shows the rows of docs/failure-modes.md is run many times by `make rows`.
//
// docs/errors.md is generated: go test ./internal/doctest -run Errors -update.
package doctest
