package s3

import "time"

// OpenImpatient opens a store that waits for nothing longer than silence, and lets an object have no more parts, of 5 MiB, than
// so many.
func OpenImpatient(config Config, silence time.Duration, parts int) (*Store, error) {
	l := usual
	l.part, l.parts = 5<<20, parts
	l.connect, l.silence, l.assembly, l.pause = silence, silence, silence, 100*time.Millisecond
	return open(config, l)
}
