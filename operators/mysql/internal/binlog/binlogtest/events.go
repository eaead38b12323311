// Package binlogtest builds events and files of a binary log for tests, whole ones and such as no server writes.
package binlogtest

import (
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"slices"
	"strings"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/binlog"
)

const (
	// HeaderSize is what an event has before its body, in bytes.
	HeaderSize = 19
	// ChecksumSize is what an event has after its body, in bytes.
	ChecksumSize = 4
	// InUse is the flag of the first event of a file that was not closed.
	InUse = 1
	// CRC32 is the kind of checksums that events have.
	CRC32 = 1
)

// Event builds an event with its checksum.
func Event(typ binlog.Type, flags uint16, body []byte) []byte {
	size := HeaderSize + len(body) + ChecksumSize
	out := make([]byte, HeaderSize, size)
	out[4] = byte(typ)
	binary.LittleEndian.PutUint32(out[9:13], uint32(size)) //nolint:gosec // Events of tests are small.
	binary.LittleEndian.PutUint16(out[17:19], flags)
	out = append(append(out, body...), 0, 0, 0, 0)
	sum(out)
	return out
}

// sum gives an event the checksum of its content.
func sum(event []byte) {
	summed := slices.Clone(event[:len(event)-ChecksumSize])
	if binlog.Type(event[4]) == binlog.Format {
		summed[17] &^= InUse
	}
	binary.LittleEndian.PutUint32(event[len(summed):], crc32.ChecksumIEEE(summed))
}

// Sum makes the checksums of what looks like events in a file good, so that what was changed in them is met.
func Sum(file []byte) []byte {
	for at := len(binlog.Magic); at+HeaderSize+ChecksumSize <= len(file); {
		size := int(binary.LittleEndian.Uint32(file[at+9 : at+13]))
		if size < HeaderSize+ChecksumSize || size > len(file)-at {
			break
		}
		sum(file[at : at+size])
		at += size
	}
	return file
}

// Format is a file's first event.
func Format(flags uint16, checksums byte) []byte {
	body := make([]byte, 2+50+4+1+40+1)
	body[0], body[2+50+4], body[len(body)-1] = 4, HeaderSize, checksums
	return Event(binlog.Format, flags, body)
}

// Previous is the event with the transactions first to last of one server in earlier files; none if last is 0.
func Previous(server string, first, last uint64) []byte {
	if last == 0 {
		return Event(binlog.PreviousGTIDs, 0, make([]byte, 8))
	}
	body := binary.LittleEndian.AppendUint64(nil, 1)
	body = append(body, uuid(server)...)
	for _, n := range []uint64{1, first, last + 1} {
		body = binary.LittleEndian.AppendUint64(body, n)
	}
	return Event(binlog.PreviousGTIDs, 0x80, body)
}

// Begin is the event that names a transaction which was committed at a time.
func Begin(server string, number uint64, committed time.Time) []byte {
	body := append([]byte{0}, uuid(server)...)
	body = binary.LittleEndian.AppendUint64(body, number)
	body = append(append(body, 2), make([]byte, 16)...)
	micros := binary.LittleEndian.AppendUint64(nil, uint64(committed.UnixMicro())) //nolint:gosec // Tests do not begin before 1970.
	return Event(binlog.GTID, 0, append(body, micros[:7]...))
}

// Transaction is a whole one that was committed at a time: its name, which says how long it is, a beginning, its rows, and a commit.
func Transaction(server string, number uint64, committed time.Time, rows []byte) []byte {
	rest := slices.Concat(Statement(nil, "BEGIN"), Event(binlog.WriteRows, 0, rows), XID())
	named := Begin(server, number, committed)
	body := named[HeaderSize : len(named)-ChecksumSize]
	// Eight bytes for the length, whatever it is, so that it does not depend on itself.
	length := len(named) + 9 + len(rest)
	body = binary.LittleEndian.AppendUint64(append(slices.Clone(body), 254), uint64(length))
	return append(Event(binlog.GTID, 0, body), rest...)
}

// Earlier is the event with the transactions of earlier files, of several servers: up to which number each of them.
func Earlier(servers []string, last []uint64) []byte {
	body := binary.LittleEndian.AppendUint64(nil, 0)
	count := uint64(0)
	for i, s := range servers {
		if last[i] == 0 {
			continue
		}
		count++
		body = append(body, uuid(s)...)
		for _, n := range []uint64{1, 1, last[i] + 1} {
			body = binary.LittleEndian.AppendUint64(body, n)
		}
	}
	binary.LittleEndian.PutUint64(body, count)
	return Event(binlog.PreviousGTIDs, 0x80, body)
}

// uuid is a server's UUID as an event has it. One that is none gives bytes that are none either.
func uuid(server string) []byte {
	id, err := hex.DecodeString(strings.ReplaceAll(server, "-", ""))
	if err != nil {
		return nil
	}
	return id
}

// Statement is a statement's event with the given status variables.
func Statement(status []byte, text string) []byte {
	body := make([]byte, 4+4+1+2+2)
	body[8] = 4
	binary.LittleEndian.PutUint16(body[11:], uint16(len(status))) //nolint:gosec // Those of tests are few.
	body = append(append(append(body, status...), "shop\x00"...), text...)
	return Event(binlog.Query, 0, body)
}

// XID is the event that commits a transaction.
func XID() []byte { return Event(binlog.XID, 0, make([]byte, 8)) }
