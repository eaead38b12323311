package trim

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// The parts of MySQL's binary log format that matter here. All numbers are little-endian. An event is a header of 19 bytes
// (when, type, server, size, end position, flags), its body, and a checksum of both.
const (
	magic        = "\xfebin"
	headerSize   = 19
	checksumSize = 4
	// maxEvent is the largest event that mysqld writes: max_allowed_packet is 1 GiB at most.
	maxEvent = 1<<30 + 1<<20
	// inUse is the flag of the first event of a file that was not closed.
	inUse = 0x1
	// checksumCRC32 is the one checksum algorithm there is, apart from none.
	checksumCRC32 = 1
	// formatVersion is the version of the format since MySQL 5.0.
	formatVersion = 4
)

// eventType is the kind of an event.
type eventType byte

// The events that are met in a binary log.
const (
	typeQuery         eventType = 2
	typeStop          eventType = 3
	typeRotate        eventType = 4
	typeFormat        eventType = 15
	typeXID           eventType = 16
	typeTableMap      eventType = 19
	typeRowsQuery     eventType = 29
	typeWriteRows     eventType = 30
	typeUpdateRows    eventType = 31
	typeDeleteRows    eventType = 32
	typeGTID          eventType = 33
	typeAnonymousGTID eventType = 34
	typePreviousGTIDs eventType = 35
	typeXAPrepare     eventType = 38
	typePartialRows   eventType = 39
	typePayload       eventType = 40
	typeTaggedGTID    eventType = 42
)

// event is one whole event.
type event struct {
	typ    eventType
	flags  uint16
	offset int64
	// body is the event without header and checksum. It is only good until the next event is read.
	body []byte
}

// reader reads the events of a file one by one.
type reader struct {
	in *bufio.Reader
	// offset is where the next event begins, size how long the file is.
	offset, size int64
	buffer       []byte
	// namesOnly leaves out the bodies, and with them the checksums, of everything but the events that name transactions.
	namesOnly bool
}

// errTorn is returned when the file ends in the middle of an event.
var errTorn = errors.New("the file ends in the middle of an event")

// newReader checks the beginning of a file of the given size.
func newReader(in io.Reader, size int64) (*reader, error) {
	r := &reader{in: bufio.NewReaderSize(in, 64<<10), offset: int64(len(magic)), size: size}
	start := make([]byte, len(magic))
	if _, err := io.ReadFull(r.in, start); err != nil || string(start) != magic {
		return nil, &Doubt{"the file does not begin like a binary log; it may be encrypted"}
	}
	return r, nil
}

// next reads an event. It returns io.EOF at the end and errTorn for the remains of an event.
func (r *reader) next() (event, error) {
	left := r.size - r.offset
	if left == 0 {
		return event{}, io.EOF
	}
	if left < headerSize {
		return event{}, errTorn
	}
	header, err := r.in.Peek(headerSize)
	if err != nil {
		return event{}, fmt.Errorf("read at %d: %w", r.offset, err)
	}
	e := event{typ: eventType(header[4]), flags: binary.LittleEndian.Uint16(header[17:19]), offset: r.offset}
	size := int64(binary.LittleEndian.Uint32(header[9:13]))
	switch {
	case size < headerSize+checksumSize || size > maxEvent:
		return event{}, &Doubt{fmt.Sprintf("the event at %d has an impossible size", r.offset)}
	case size > left:
		return event{}, errTorn
	}
	r.offset += size
	if r.namesOnly && e.typ != typeGTID && e.typ != typePreviousGTIDs && e.typ != typeFormat {
		_, err := io.CopyN(io.Discard, r.in, size)
		return e, err
	}
	if int64(cap(r.buffer)) < size {
		r.buffer = make([]byte, size)
	}
	r.buffer = r.buffer[:size]
	if _, err := io.ReadFull(r.in, r.buffer); err != nil {
		return event{}, fmt.Errorf("read the event at %d: %w", e.offset, err)
	}
	if !intact(r.buffer, e.typ) {
		return event{}, &Doubt{fmt.Sprintf("the event at %d does not match its checksum", e.offset)}
	}
	e.body = r.buffer[headerSize : size-checksumSize]
	return e, nil
}

// intact compares an event with its checksum. That of a file's first event was made before the flag was set.
func intact(raw []byte, typ eventType) bool {
	content, sum := raw[:len(raw)-checksumSize], binary.LittleEndian.Uint32(raw[len(raw)-checksumSize:])
	if typ != typeFormat {
		return crc32.ChecksumIEEE(content) == sum
	}
	flagless := [2]byte{content[17] &^ inUse, content[18]}
	is := crc32.ChecksumIEEE(content[:17])
	is = crc32.Update(is, crc32.IEEETable, flagless[:])
	return crc32.Update(is, crc32.IEEETable, content[headerSize:]) == sum
}

// format reads the first event of a file and says whether the file was not closed.
func (r *reader) format() (open bool, err error) {
	e, err := r.next()
	if doubt, ok := errors.AsType[*Doubt](err); ok {
		return false, doubt
	}
	if err != nil {
		return false, &Doubt{"the file has no whole first event"}
	}
	const fixed = 2 + 50 + 4 + 1
	switch {
	case e.typ != typeFormat || len(e.body) < fixed+1 || binary.LittleEndian.Uint16(e.body) != formatVersion || e.body[fixed-1] != headerSize:
		return false, &Doubt{"the format of the file is not one that is known"}
	case e.body[len(e.body)-1] != checksumCRC32:
		return false, &Doubt{"the events of the file have no checksums"}
	}
	return e.flags&inUse != 0, nil
}

// gtid is one transaction's name.
type gtid struct {
	server string
	number uint64
}

// gtidSize is how much of a GTID event is read: flags, server UUID, number.
const gtidSize = 25

// readGTID reads the event that begins a transaction.
func readGTID(e event) (gtid, error) {
	if len(e.body) < gtidSize {
		return gtid{}, &Doubt{fmt.Sprintf("the GTID event at %d is too short", e.offset)}
	}
	number := binary.LittleEndian.Uint64(e.body[17:25])
	if number == 0 || number >= 1<<63 {
		return gtid{}, &Doubt{fmt.Sprintf("the GTID event at %d has an impossible number", e.offset)}
	}
	return gtid{uuid(e.body[1:17]), number}, nil
}

// uuid writes 16 bytes as a server UUID.
func uuid(b []byte) string {
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
