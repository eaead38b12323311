// Package trim finds and removes the tail of a binary log that nobody acknowledged, so that mysqld rolls it back when it
// starts instead of committing it (docs/adr/0007).
//
// A source writes a transaction to its binary log, syncs it, and only then waits for its replicas. Until they answer, InnoDB
// holds it prepared, and a server that is killed meanwhile decides by the binary log what to do with it: commit what is in
// the newest file, roll back what is not. So a tail that is removed before mysqld starts was never there.
//
// That holds for what was tried and for nothing else. Survey therefore asks of every event in the tail that it is one of
// those which are known to be rolled back, and of every event in the file that it is what it should be. The first thing
// that does not fit is a Doubt, and then nothing is touched. Nothing here removes a transaction that is known: the cut is
// the beginning of an unknown one, and a known one behind it is a doubt.
package trim

// Doubt says why a binary log is left as it is. It is no failure: CLONE is the way then.
type Doubt struct {
	// Why completes the sentence "it is not brought back by removing the tail, because ...".
	Why string
}

// Error returns the reason.
func (d *Doubt) Error() string { return d.Why }
