package trim

import (
	"encoding/binary"
	"slices"
	"strings"
)

// query is what matters of a statement in the binary log.
type query struct {
	text string
	// failed: the statement had an error on its source.
	failed bool
	// twoPhase: the statement changes the schema and takes part in the commit like a transaction, so that it is rolled back
	// like one.
	twoPhase bool
}

// The status variables of a statement, as far as their sizes are needed to find one of them.
const (
	variableUpdatedDatabases = 12
	variableTwoPhase         = 17
	// manyDatabases stands for a list of databases that was too long to be written.
	manyDatabases = 254
)

// variableSizes are the sizes of the status variables; those that begin with a length are negative: so many of them.
func variableSizes() map[byte]int {
	return map[byte]int{
		0: 4, 1: 8, 3: 4, 4: 6, 5: -1, 6: -1, 7: 2, 8: 2, 9: 8, 10: 4, 11: -2, 13: 3, 16: 1, variableTwoPhase: 8, 18: 2, 19: 1, 20: 1,
	}
}

// readQuery reads a statement's event; ok is false if it does not have the form that is known.
func readQuery(body []byte) (q query, ok bool) {
	const fixed = 4 + 4 + 1 + 2 + 2
	if len(body) < fixed {
		return q, false
	}
	database, status := int(body[8]), int(binary.LittleEndian.Uint16(body[11:13]))
	if len(body) < fixed+status+database+1 {
		return q, false
	}
	q.failed = binary.LittleEndian.Uint16(body[9:11]) != 0
	q.twoPhase = isTwoPhase(body[fixed : fixed+status])
	q.text = string(body[fixed+status+database+1:])
	return q, true
}

// isTwoPhase looks for the mark of a statement that takes part in the commit. Whatever is not understood hides it.
func isTwoPhase(status []byte) bool {
	sizes := variableSizes()
	for len(status) > 0 {
		code := status[0]
		status = status[1:]
		size, known := sizes[code]
		switch {
		case code == variableTwoPhase:
			return len(status) >= sizes[code] && binary.LittleEndian.Uint64(status) != 0
		case code == variableUpdatedDatabases:
			size, known = databasesSize(status)
		case size < 0:
			size, known = textsSize(status, -size)
		}
		if !known || size > len(status) {
			return false
		}
		status = status[size:]
	}
	return false
}

// textsSize is the size of n texts that begin with their lengths.
func textsSize(b []byte, n int) (size int, ok bool) {
	for range n {
		if size >= len(b) {
			return 0, false
		}
		size += 1 + int(b[size])
	}
	return size, true
}

// databasesSize is the size of a counted list of names that end in a zero.
func databasesSize(b []byte) (size int, ok bool) {
	if len(b) == 0 {
		return 0, false
	}
	if b[0] == manyDatabases {
		return 1, true
	}
	size = 1
	for range b[0] {
		end := strings.IndexByte(string(b[min(size, len(b)):]), 0)
		if end < 0 {
			return 0, false
		}
		size += end + 1
	}
	return size, true
}

// rollsBack says whether a statement that changes the schema is of a kind that was seen to be rolled back whole: tables
// and indexes, in InnoDB. What has files of its own that InnoDB does not keep track of (databases, tablespaces) is not.
func (q query) rollsBack() bool {
	if q.failed || !q.twoPhase {
		return false
	}
	text := strings.ToUpper(q.text)
	if strings.Contains(text, "TABLESPACE") || strings.Contains(text, "START TRANSACTION") {
		return false
	}
	words := strings.Fields(text)
	for _, kind := range [][]string{
		{"CREATE", "TABLE"}, {"ALTER", "TABLE"}, {"DROP", "TABLE"}, {"TRUNCATE"}, {"CREATE", "INDEX"}, {"CREATE", "UNIQUE", "INDEX"}, {"DROP", "INDEX"},
	} {
		if len(words) > len(kind) && slices.Equal(words[:len(kind)], kind) {
			return true
		}
	}
	return false
}

// inTransaction says whether a statement may stand inside a transaction of rows.
func (q query) inTransaction() bool {
	text := strings.ToUpper(q.text)
	return strings.HasPrefix(text, "SAVEPOINT ") || strings.HasPrefix(text, "ROLLBACK TO ")
}
