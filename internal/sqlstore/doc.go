// Package sqlstore keeps everything that lasts in PostgreSQL or in SQLite: it implements the Store interfaces of the domain
// packages, with gorm, and is the only package that knows a table. Rules of the domain are not here: a store's method takes
// a closure that decides, and runs it inside the transaction.
//
// Both databases have the same tables and columns. Times are whole microseconds since 1970 (UTC) in a bigint, lists and
// maps are JSON text, IDs compare byte for byte. What differs is in the dialect values (dialect.go) and in open_*.go.
//
// Every change of what admins registered is one transaction (tx.go) that locks the one row of registry_epoch first. So
// changes are serial, their closures see what the one before left, no two can deadlock, and the order of epochs is the
// order of commits.
package sqlstore
