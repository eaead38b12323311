// Package history records what clients did and were told, and judges it. It is pure: times are given, what was found at the
// end is given, and the same input always gives the same verdict; only the search of CheckRegisters is bounded by real time.
// It knows no product: a client inserts into a set, appends to a list, or writes to a register, whatever that is made of.
//
// There are two recorders. Recorder is for one process that writes rows and wants its gaps while it runs. Encoder is for
// many processes: each writes one Operation a line, and Merge joins what Read has read.
//
// Times are durations by a monotonic clock, so that a step of the wall clock cannot make or hide a gap. Those of a Recorder
// may count from its client's start. Those that are merged come from Now, which one machine's processes share.
//
// # What each checker proves
//
//   - JudgeSet: no acknowledged insert is lost, nothing is there that nobody put there, nothing is there twice.
//   - CheckLists: the same for appends; moreover their order is that of real time, and every read is a prefix of it.
//   - CheckRegisters: writes, compare-and-sets and reads of each register are linearizable.
//   - CheckOneWriter: at most one server acknowledges in an epoch.
//
// A checker accuses only if no history of a correct store explains what was seen: an operation whose outcome is unknown may
// have taken effect at any time after it was invoked, or never. Two times that are equal are not ordered.
//
// A read that shows an older state than it could have is stale. That is no violation, since replicas may serve reads: it is
// counted and measured as Staleness, and the caller decides how much of it he stands for.
//
// What could not be judged is counted as undecided and what breaks the rules for a history as malformed; neither is Good.
package history
