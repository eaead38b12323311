package history

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Kind is what a client tried.
type Kind string

// The kinds of operations. What is inserted makes a set, what is appended a list, and what is written a register; the three
// never share an object, even if its name is the same.
const (
	KindInsert        Kind = "insert"
	KindAppend        Kind = "append"
	KindWrite         Kind = "write"
	KindCompareAndSet Kind = "cas"
	KindReadList      Kind = "read-list"
	KindReadRegister  Kind = "read-register"
)

// Operation is one thing that a client tried.
type Operation struct {
	// Client is who tried; a client does one thing at a time.
	Client string `json:"client"`
	Kind   Kind   `json:"kind"`
	// Object is which set, list or register.
	Object string `json:"object"`
	// Value is what was inserted, appended, written, or set by a compare-and-set. It is unique within its object, whatever
	// came of the operation: a client that tries again takes another value.
	Value int64 `json:"value,omitempty"`
	// Expected is the value that a compare-and-set asks for. A register without a value has none that matches.
	Expected int64 `json:"expected,omitempty"`
	// Seen is what a read returned: the elements of a list in order, or the one value of a register; none if it has none yet.
	Seen []int64 `json:"seen,omitempty"`
	// Applied says that a compare-and-set was acknowledged and took effect. One that was acknowledged and not applied is a
	// read that saw another value than the expected one.
	Applied bool `json:"applied,omitempty"`
	// Invoked is when the client began, before anything was sent.
	Invoked time.Duration `json:"invoked"`
	// Returned is when the client had its answer or gave up; 0 when neither came.
	Returned time.Duration `json:"returned,omitempty"`
	Outcome  Outcome       `json:"outcome"`
	// Server is which instance answered; empty if that is not known.
	Server string `json:"server,omitempty"`
}

// Validate says whether the operation can be judged.
func (o Operation) Validate() error {
	if o.Client == "" {
		return errors.New("client: must name who tried the operation")
	}
	if o.Object == "" {
		return errors.New("object: must name the set, list or register")
	}
	if o.Outcome > Unknown {
		return fmt.Errorf("outcome: %d is none", o.Outcome)
	}
	if o.Invoked < 0 {
		return fmt.Errorf("invoked: must not be negative, is %s", o.Invoked)
	}
	if o.Outcome == Acknowledged && o.Returned == 0 {
		return errors.New("returned: must be set, since the operation is acknowledged")
	}
	if o.Returned != 0 && o.Returned < o.Invoked {
		return fmt.Errorf("returned: must not be before invoked, %s is before %s", o.Returned, o.Invoked)
	}
	return o.validateKind()
}

func (o Operation) validateKind() error {
	switch o.Kind {
	case KindCompareAndSet:
		if o.Applied && o.Outcome != Acknowledged {
			return fmt.Errorf("applied: only an acknowledged operation is known to be, this one is %s", o.Outcome)
		}
		if o.Value == o.Expected {
			return fmt.Errorf("value: must differ from the expected one, both are %d", o.Value)
		}
		return nil
	case KindInsert, KindAppend, KindWrite, KindReadList:
	case KindReadRegister:
		if len(o.Seen) > 1 {
			return fmt.Errorf("seen: a register has one value, not %d", len(o.Seen))
		}
	default:
		return fmt.Errorf("kind: %q is none of %v", o.Kind, []Kind{
			KindInsert, KindAppend, KindWrite, KindCompareAndSet, KindReadList, KindReadRegister})
	}
	if o.Applied {
		return fmt.Errorf("applied: only a %s can be, not a %s", KindCompareAndSet, o.Kind)
	}
	return nil
}

// Mutates says that the operation, if it took effect, changed its object. A compare-and-set that is known not to have
// matched did not.
func (o Operation) Mutates() bool {
	switch o.Kind {
	case KindInsert, KindAppend, KindWrite:
		return true
	case KindCompareAndSet:
		return o.Applied || o.Outcome != Acknowledged
	case KindReadList, KindReadRegister:
	}
	return false
}

// String tells of the operation in the words of the examples.
func (o Operation) String() string {
	var what string
	switch o.Kind {
	case KindCompareAndSet:
		what = fmt.Sprintf("cas of %d to %d in %s", o.Expected, o.Value, o.Object)
		if o.Outcome == Acknowledged && !o.Applied {
			what += ", which did not match,"
		}
	case KindReadList:
		what = fmt.Sprintf("read of %s that saw %d elements", o.Object, len(o.Seen))
	case KindReadRegister:
		what = fmt.Sprintf("read of %s that saw no value", o.Object)
		if len(o.Seen) > 0 {
			what = fmt.Sprintf("read of %s that saw %d", o.Object, o.Seen[0])
		}
	default:
		what = fmt.Sprintf("%s of %d to %s", o.Kind, o.Value, o.Object)
	}
	what += " by " + o.Client
	if o.Server != "" {
		what += " on " + o.Server
	}
	if o.Returned == 0 {
		return fmt.Sprintf("%s (%s, since %s)", what, o.Outcome, o.Invoked)
	}
	return fmt.Sprintf("%s (%s, %s to %s)", what, o.Outcome, o.Invoked, o.Returned)
}

// Merge joins the histories of several clients, ordered by when each operation was invoked. Their times must be of one
// clock; see Now.
func Merge(histories ...[]Operation) []Operation {
	merged := slices.Concat(histories...)
	slices.SortStableFunc(merged, func(a, b Operation) int { return cmp.Compare(a.Invoked, b.Invoked) })
	return merged
}

// Acknowledgements returns when acknowledged changes returned, in order, as Gaps and Widest want it. Kinds narrow it down;
// without them every change counts. Reads do not: a server that cannot write any more may serve them for long.
func Acknowledgements(ops []Operation, kinds ...Kind) []time.Duration {
	var acks []time.Duration
	for _, o := range ops {
		if o.Outcome == Acknowledged && o.Mutates() && (len(kinds) == 0 || slices.Contains(kinds, o.Kind)) {
			acks = append(acks, o.Returned)
		}
	}
	slices.Sort(acks)
	return acks
}
