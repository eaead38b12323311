package binlog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// The parts of MySQL's binary log format that matter here. All numbers are little-endian. An event is a header of 19 bytes
// (when, type, server, size, end position, flags), its body, and a checksum of both.
const (
	// Magic is how a file begins.
	Magic        = "\xfebin"
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

// Type is the kind of an event.
type Type byte

// The events that are met in a binary log.
const (
	// Query is a statement.
	Query Type = 2
	// Stop is the end of a file whose server ended.
	Stop Type = 3
	// Rotate is the end of a file that another one follows.
	Rotate Type = 4
	// Format is the first event of a file.
	Format Type = 15
	// XID is the commit of a transaction.
	XID Type = 16
	// TableMap names the table of the rows that follow.
	TableMap Type = 19
	// RowsQuery is the statement that changed the rows that follow.
	RowsQuery Type = 29
	// WriteRows are inserted rows.
	WriteRows Type = 30
	// UpdateRows are changed rows.
	UpdateRows Type = 31
	// DeleteRows are deleted rows.
	DeleteRows Type = 32
	// GTID begins a transaction and names it.
	GTID Type = 33
	// AnonymousGTID begins a transaction that has no name.
	AnonymousGTID Type = 34
	// PreviousGTIDs names the transactions of all files before this one.
	PreviousGTIDs Type = 35
	// XAPrepare is the first half of a distributed transaction.
	XAPrepare Type = 38
	// PartialRows are rows of which only parts of documents have changed.
	PartialRows Type = 39
	// Payload is a compressed transaction.
	Payload Type = 40
	// TaggedGTID begins a transaction and names it with a tag.
	TaggedGTID Type = 42
)

// FormatError says that a file is not what a server writes, as far as this package knows it.
type FormatError struct {
	// Why says what is wrong, with the position.
	Why string
}

// Error implements error.
func (e *FormatError) Error() string { return e.Why }

func wrong(format string, args ...any) error { return &FormatError{fmt.Sprintf(format, args...)} }

// ErrTorn says that a file ends in the middle of an event: it is still being written, or its server was killed.
var ErrTorn = errors.New("the file ends in the middle of an event")

// Event is one whole event.
type Event struct {
	// Type is its kind.
	Type Type
	// Flags are those of its header.
	Flags uint16
	// Offset is where it begins in the file, and Size how long it is, in bytes.
	Offset, Size int64
	// Body is the event without header and checksum, Raw with both. They are good until the next event is read, and missing when
	// the reader reads names only.
	Body, Raw []byte
}

// Reader reads the events of a file one by one.
type Reader struct {
	in           *bufio.Reader
	offset, size int64
	buffer       []byte
	// NamesOnly leaves out the bodies, and with them the checksums, of all events but those that name transactions.
	NamesOnly bool
}

// NewReader checks the beginning of a file of the given size in bytes. What the file has beyond it is not read.
func NewReader(in io.Reader, size int64) (*Reader, error) {
	r := &Reader{in: bufio.NewReaderSize(in, 64<<10), offset: int64(len(Magic)), size: size}
	start := make([]byte, len(Magic))
	if _, err := io.ReadFull(r.in, start); err != nil || string(start) != Magic {
		return nil, wrong("the file does not begin like a binary log; it may be encrypted")
	}
	return r, nil
}

// Resume reads on in a file whose beginning was read before: from the event that begins at offset to size.
func Resume(in io.ReaderAt, offset, size int64) *Reader {
	section := io.NewSectionReader(in, offset, size-offset)
	return &Reader{in: bufio.NewReaderSize(section, 64<<10), offset: offset, size: size}
}

// Offset returns where the next event begins, in bytes from the beginning of the file.
func (r *Reader) Offset() int64 { return r.offset }

// Size returns how long the file is, in bytes.
func (r *Reader) Size() int64 { return r.size }

// Next reads an event. It returns io.EOF at the end and ErrTorn for the remains of an event.
func (r *Reader) Next() (Event, error) {
	left := r.size - r.offset
	if left == 0 {
		return Event{}, io.EOF
	}
	if left < headerSize {
		return Event{}, ErrTorn
	}
	header, err := r.in.Peek(headerSize)
	if err != nil {
		return Event{}, fmt.Errorf("read at %d: %w", r.offset, err)
	}
	e := Event{Type: Type(header[4]), Flags: binary.LittleEndian.Uint16(header[17:19]), Offset: r.offset}
	size := int64(binary.LittleEndian.Uint32(header[9:13]))
	switch {
	case size < headerSize+checksumSize || size > maxEvent:
		return Event{}, wrong("the event at %d has an impossible size", r.offset)
	case size > left:
		return Event{}, ErrTorn
	}
	e.Size = size
	r.offset += size
	if r.NamesOnly && !e.Type.names() {
		if _, err := io.CopyN(io.Discard, r.in, size); err != nil {
			return Event{}, fmt.Errorf("read past the event at %d: %w", e.Offset, err)
		}
		return e, nil
	}
	if int64(cap(r.buffer)) < size {
		r.buffer = make([]byte, size)
	}
	r.buffer = r.buffer[:size]
	if _, err := io.ReadFull(r.in, r.buffer); err != nil {
		return Event{}, fmt.Errorf("read the event at %d: %w", e.Offset, err)
	}
	if !intact(r.buffer, e.Type) {
		return Event{}, wrong("the event at %d does not match its checksum", e.Offset)
	}
	e.Raw, e.Body = r.buffer, r.buffer[headerSize:size-checksumSize]
	return e, nil
}

// names says whether an event of this type says something about the names of transactions.
func (t Type) names() bool {
	switch t {
	case Format, PreviousGTIDs, GTID, TaggedGTID:
		return true
	default:
		return false
	}
}

// intact compares an event with its checksum. That of a file's first event was made before the flag was set.
func intact(raw []byte, typ Type) bool {
	content, sum := raw[:len(raw)-checksumSize], binary.LittleEndian.Uint32(raw[len(raw)-checksumSize:])
	if typ != Format {
		return crc32.ChecksumIEEE(content) == sum
	}
	flagless := [2]byte{content[17] &^ inUse, content[18]}
	is := crc32.ChecksumIEEE(content[:17])
	is = crc32.Update(is, crc32.IEEETable, flagless[:])
	return crc32.Update(is, crc32.IEEETable, content[headerSize:]) == sum
}

// Format reads the first event of a file, and says whether the file was not closed.
func (r *Reader) Format() (e Event, open bool, err error) {
	e, err = r.Next()
	if broken, ok := errors.AsType[*FormatError](err); ok {
		return Event{}, false, broken
	}
	if err != nil {
		return Event{}, false, wrong("the file has no whole first event")
	}
	const fixed = 2 + 50 + 4 + 1
	switch {
	case e.Type != Format || len(e.Body) < fixed+1 || binary.LittleEndian.Uint16(e.Body) != formatVersion || e.Body[fixed-1] != headerSize:
		return Event{}, false, wrong("the format of the file is not one that is known")
	case e.Body[len(e.Body)-1] != checksumCRC32:
		return Event{}, false, wrong("the events of the file have no checksums")
	}
	return e, e.Flags&inUse != 0, nil
}
