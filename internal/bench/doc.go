// Package bench measures the real binary: what a token costs, how much memory the server holds, what it writes to its
// database, how fast it starts. The benchmarks of it run with `make bench` and never with the tests; the rest is what they
// measure with: a load driver that costs little itself, the accounts that the kernel keeps of a process, and a table.
//
// This machine and yours differ, and others use them too. So the benchmarks compare CPU time and not wall time, compare
// only what ran in the same minutes, in turns, and report medians with the least and the most.
package bench
