// Package agent is the process that runs one MySQL instance: it starts mysqld, tells the operator what it sees and does
// what the operator wants. See package instance for what it owes.
//
// # How it is built
//
// One goroutine (Run) owns the loop. At any time at most one piece of work runs beside it: accepting a directive,
// starting or stopping mysqld, or a turn (observe, decide, take steps, observe again). While it runs the work owns the
// memory; when it is done the loop owns it again. The loop itself never touches the disk or mysqld, so that it always
// hears: a new directive cancels the work that serves the old one, and the end of mysqld is reported at once.
//
// Three things do not wait for the loop, because they must work when everything else hangs: the lease guard (package
// lease), the watch over the volume (package volume), and the kill of a source that is told to stand by.
//
// What can take long (a clone, an archive, checking a configuration, account statements, proofs of a quorum) runs as a
// job of its own and reports back to the loop.
//
// # Two choices worth knowing
//
// A directive to be primary or to drain counts for the run of mysqld that it was given to. When mysqld ends, it is
// forgotten: what was recovered may hold transactions that nobody acknowledged, so that only the operator can say how to
// go on (I7). A blank instance keeps it: nothing was written to it yet, and the next run founds the cluster.
//
// A follower that is told to stand by keeps its readers for three seconds. Converged is about the receiver; a failover
// that takes less than that costs no reader its connection.
package agent
