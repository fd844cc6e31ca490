// Package faultlab is the laboratory in which the promise of DESIGN.md §7 is tested: what was acknowledged as taken back never
// counts again, on any replica, whatever fails. It runs three replicas as real processes on a real PostgreSQL and a real Redis
// of its own, with a proxy before each store for each replica, lets clients work, and hurts all of it at random. One oracle
// notes every acknowledgement in a file and asks every replica about it for as long as the token lives.
//
// The same laboratory runs designs that are known to be wrong, and must catch each of them; so the silence of the oracle means
// something. `make faults` is the long run; internal/failures tests single failures one by one.
package faultlab
