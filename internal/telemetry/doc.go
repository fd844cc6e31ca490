// Package telemetry owns what an operator sees of a running server: the logger, which redacts secrets whoever hands them to
// it; the metrics, on a registry of their own; and traces, which are off unless asked for. What is counted, and when, is
// up to the packages that do the work.
package telemetry
