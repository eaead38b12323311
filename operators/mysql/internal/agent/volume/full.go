package volume

import (
	"errors"

	"golang.org/x/sys/unix"
)

// isFull says whether an error is about missing space.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
