package target

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/full"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/parcel"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/proof"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/shared/objectstore"
)

// Reason returns the name of what went wrong with a backup or a restore, one of the Problems of the package instance; "" for no error.
func Reason(err error) string {
	if err == nil {
		return ""
	}
	if is[*full.NoSpaceError](err) {
		return instance.ProblemNoSpace
	}
	if is[*backup.Unreachable](err) || errors.Is(err, parcel.ErrSealed) {
		return instance.ProblemUnreachable
	}
	if is[*proof.WrongError](err) {
		return instance.ProblemDataWrong
	}
	switch {
	case errors.Is(err, objectstore.ErrDenied):
		return instance.ProblemStoreDenied
	case errors.Is(err, objectstore.ErrAbsent):
		return instance.ProblemStoreMissing
	case errors.Is(err, objectstore.ErrCorrupt), errors.Is(err, objectstore.ErrNotFound), errors.Is(err, backup.ErrDamaged):
		// Nobody asks for an object that no manifest names.
		return instance.ProblemStoreDamaged
	case errors.Is(err, objectstore.ErrFull), is[*failure](err):
		return instance.ProblemStoreFailing
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return instance.ProblemNoSpace
	}
	return instance.ProblemBackupFailed
}

// is says whether an error is one of a kind.
func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
