// Package history judges what a client saw: which rows it tried to write, what it was told about each, how long nobody
// was answered, and what was in the table at the end. It is pure: times are given, rows are given, and the same input
// always gives the same verdict.
//
// Times are durations since the client's start by its monotonic clock, so that a step of the wall clock cannot make or
// hide a gap.
package history
