package history

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Clock tells the time of operations. Now is one.
type Clock func() time.Duration

// Now reads the machine's monotonic clock (CLOCK_MONOTONIC), which counts from the machine's start and which nobody can set.
// All processes of one machine read the same, in containers too, unless they were put into a time namespace of their own;
// so their histories can be merged. Those of two machines cannot.
func Now() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		// POSIX knows this failure only for a clock that does not exist.
		panic(fmt.Sprintf("history: read the monotonic clock: %v", err))
	}
	return time.Duration(now.Nano())
}
