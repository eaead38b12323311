package binlog

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/go-mysql-org/go-mysql/replication"
)

// Transaction is what the first event of a transaction says of it.
type Transaction struct {
	// Server is the UUID of the server that generated it, Tag its tag, if it has one, and Number its number.
	Server, Tag string
	Number      uint64
	// Committed is when it was committed on that server, by its clock, to the microsecond. It is zero if the event does not say.
	Committed time.Time
	// Length is the size of the whole transaction in bytes, this event included, or 0 if the event does not say.
	Length int64
}

// String returns the transaction's GTID.
func (t Transaction) String() string {
	if t.Tag != "" {
		return fmt.Sprintf("%s:%s:%d", t.Server, t.Tag, t.Number)
	}
	return fmt.Sprintf("%s:%d", t.Server, t.Number)
}

// The sizes of an event that names a transaction without a tag, in bytes: flags, server and number; then the mark and two numbers of the
// logical clock; then one or two times of seven bytes.
const (
	nameSize  = 25
	clockSize = 17
	timeSize  = 7
	// clockMark says that the logical clock follows.
	clockMark = 2
	// twoTimes is the bit of the first time that says that another one follows: that of the server which generated the transaction.
	twoTimes = 1 << 55
)

// Begin reads an event of type GTID or TaggedGTID.
func Begin(e Event) (Transaction, error) {
	switch e.Type {
	case GTID:
		return untagged(e)
	case TaggedGTID:
		return tagged(e)
	default:
		return Transaction{}, wrong("the event at %d does not name a transaction", e.Offset)
	}
}

// untagged reads an event of type GTID.
func untagged(e Event) (Transaction, error) {
	if len(e.Body) < nameSize {
		return Transaction{}, wrong("the GTID event at %d is too short", e.Offset)
	}
	t := Transaction{Server: server(e.Body[1:17]), Number: binary.LittleEndian.Uint64(e.Body[17:nameSize])}
	if t.Number == 0 || t.Number >= 1<<63 {
		return Transaction{}, wrong("the GTID event at %d has an impossible number", e.Offset)
	}
	rest := e.Body[nameSize:]
	if len(rest) < clockSize+timeSize || rest[0] != clockMark {
		return t, nil
	}
	rest = rest[clockSize:]
	committed := micros(rest)
	if committed&twoTimes != 0 {
		if len(rest) < 2*timeSize {
			return Transaction{}, wrong("the GTID event at %d ends within a time", e.Offset)
		}
		committed, rest = micros(rest[timeSize:]), rest[timeSize:]
	}
	t.Committed, t.Length = time.UnixMicro(committed).UTC(), packed(rest[timeSize:])
	return t, nil
}

// packed reads a number in as many bytes as it needs, as MySQL's protocol has it, or returns 0.
func packed(b []byte) int64 {
	if len(b) == 0 {
		return 0
	}
	size := map[byte]int{252: 2, 253: 3, 254: 8}[b[0]]
	switch {
	case b[0] <= 250:
		return int64(b[0])
	case size == 0 || len(b) < 1+size:
		return 0
	}
	var whole [8]byte
	copy(whole[:], b[1:1+size])
	return max(0, int64(binary.LittleEndian.Uint64(whole[:]))) //nolint:gosec // What does not fit is 0.
}

// micros reads a time of seven bytes.
func micros(b []byte) int64 {
	var whole [8]byte
	copy(whole[:timeSize], b)
	return int64(binary.LittleEndian.Uint64(whole[:])) //nolint:gosec // Seven bytes fit.
}

// tagged reads an event of type TaggedGTID.
func tagged(e Event) (t Transaction, err error) {
	defer func() {
		// The library reads beyond the end of what is shorter than it says.
		if recover() != nil {
			err = wrong("the event at %d names a transaction in a form that is not known", e.Offset)
		}
	}()
	var said replication.GtidTaggedLogEvent
	if err := said.Decode(e.Body); err != nil {
		return Transaction{}, wrong("the event at %d names a transaction in a form that is not known: %v", e.Offset, err)
	}
	if len(said.SID) != 16 || said.GNO <= 0 {
		return Transaction{}, wrong("the GTID event at %d has an impossible number", e.Offset)
	}
	return Transaction{
		Server: server(said.SID), Tag: said.Tag, Number: uint64(said.GNO), Committed: said.OriginalCommitTime().UTC(),
		Length: int64(said.TransactionLength), //nolint:gosec // What does not fit is negative, and compared with a size.
	}, nil
}

// server writes 16 bytes as the UUID of a server.
func server(b []byte) string {
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
