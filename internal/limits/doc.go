// Package limits owns how often a caller may fail (Failures) and, where an operator wants it, how often a client may
// succeed (Rate). Both count in the memory of this process, in a bounded number of buckets; what a limited caller is
// answered is decided in package oauth.
package limits
