package binlog

import (
	"encoding/binary"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
)

// The least that one server takes in an event of type PreviousGTIDs, in bytes, and the size of a run of numbers.
const (
	serverSize = 24
	runSize    = 16
)

// Previous reads an event of type PreviousGTIDs: the transactions of all files before this one.
func Previous(e Event) (gtid.Set, error) {
	if e.Type != PreviousGTIDs {
		return gtid.Set{}, wrong("the event at %d does not name the transactions of earlier files", e.Offset)
	}
	var found gtid.Builder
	if !previous(e.Body, found.Add) {
		return gtid.Set{}, wrong("the event at %d names the transactions of earlier files in a form that is not known", e.Offset)
	}
	set, err := found.Set()
	if err != nil {
		return gtid.Set{}, wrong("the event at %d names transactions that cannot be: %v", e.Offset, err)
	}
	return set, nil
}

// previous calls visit for each run of numbers. ok is false if the body does not have a form that is known. There are two: one where
// each server is there once, and, as soon as a transaction has a tag, one where each server is there once for each of its tags. The
// latter has a 1 in the first and the last byte of the count, and the count in the six bytes between.
func previous(body []byte, visit func(server, tag string, first, last uint64)) (ok bool) {
	if len(body) < 8 {
		return false
	}
	count, withTags := binary.LittleEndian.Uint64(body), body[0] == 1 && body[7] == 1
	if withTags {
		count = count << 8 >> 16
	}
	body = body[8:]
	if count > uint64(len(body)/serverSize) {
		return false
	}
	for range count {
		if body, ok = previousOf(body, withTags, visit); !ok {
			return false
		}
	}
	return len(body) == 0
}

// previousOf reads the runs of one server, or of one of its tags, and returns what follows.
func previousOf(body []byte, withTags bool, visit func(server, tag string, first, last uint64)) (rest []byte, ok bool) {
	if len(body) < serverSize {
		return nil, false
	}
	uuid, tag := server(body[:16]), ""
	body = body[16:]
	if withTags {
		// The length of a tag, 32 at most, is in one byte, doubled.
		length := int(body[0])
		if length%2 != 0 || len(body) < 1+length/2+8 {
			return nil, false
		}
		tag, body = string(body[1:1+length/2]), body[1+length/2:]
	}
	runs := binary.LittleEndian.Uint64(body)
	body = body[8:]
	if runs > uint64(len(body)/runSize) {
		return nil, false
	}
	for range runs {
		first, end := binary.LittleEndian.Uint64(body), binary.LittleEndian.Uint64(body[8:])
		if first == 0 || end <= first {
			return nil, false
		}
		visit(uuid, tag, first, end-1)
		body = body[runSize:]
	}
	return body, true
}
