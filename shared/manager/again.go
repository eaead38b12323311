package manager

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrLeadershipLost says that a replica lost its leadership without giving it up:
// its Lease could not be renewed in time, or somebody else holds it. Nothing is
// wrong with the replica itself.
var ErrLeadershipLost = errors.New("the leadership was lost")

// explain says of an end whether the leadership was lost.
func (t *Term) explain(err error) error {
	if err == nil || t.tenure == nil || !t.tenure.lost() {
		return err
	}
	return fmt.Errorf("%w: %w", ErrLeadershipLost, err)
}

// Again replaces this process by a new one of the same program, with the same
// arguments and environment. It returns only if that fails.
//
// It is for a replica that has lost its leadership, which must drop all it knows
// and begs to be a standby. If its process ended instead, the kubelet would take
// it for a crash, and wait up to five minutes before it starts the container
// once more: in a network that is bad for long no operator would be left.
func Again() error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program to start it again: %w", err)
	}
	if err := syscall.Exec(program, os.Args, os.Environ()); err != nil { //nolint:gosec // The program is this one.
		return fmt.Errorf("start %s again: %w", program, err)
	}
	return nil
}
