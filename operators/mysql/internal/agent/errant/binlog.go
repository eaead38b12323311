// Package errant keeps transactions that only one instance holds before its data are replaced (I6): the log files as they
// are, and their content in words, with a manifest that says what, when and why.
package errant

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
)

// The parts of MySQL's log file format that name transactions.
const (
	magic          = "\xfebin"
	headerSize     = 19
	typeGTID       = 33
	typeTaggedGTID = 42
	// gtidSize is how much of a GTID event is read: flags, server UUID, number.
	gtidSize = 25
)

// Contents is what a log file holds.
type Contents struct {
	// Set are the transactions that begin in the file.
	Set gtid.Set
	// Unknown says that the file has transactions whose names cannot be read (tagged ones).
	Unknown bool
}

// Scan reads the names of the transactions in a binary log or relay log file. A file that ends in the middle of an event
// is read up to there: that is how a log looks after a crash.
func Scan(path string) (Contents, error) {
	f, err := os.Open(path)
	if err != nil {
		return Contents{}, fmt.Errorf("open log file: %w", err)
	}
	defer func() { _ = f.Close() }()
	return scan(f)
}

func scan(f io.ReadSeeker) (Contents, error) {
	var out Contents
	start := make([]byte, len(magic))
	if _, err := io.ReadFull(f, start); err != nil || string(start) != magic {
		return out, errors.New("read log file: it does not begin like one (is it encrypted?)")
	}
	r := bufio.NewReaderSize(f, 64<<10)
	header, body := make([]byte, headerSize), make([]byte, gtidSize)
	text := ""
	for {
		if _, err := io.ReadFull(r, header); err != nil {
			break
		}
		size := int(binary.LittleEndian.Uint32(header[9:13])) - headerSize
		if size < 0 {
			return out, errors.New("read log file: an event has an impossible size")
		}
		switch header[4] {
		case typeTaggedGTID:
			out.Unknown = true
		case typeGTID:
			if size < gtidSize {
				return out, errors.New("read log file: a GTID event is too short")
			}
			if _, err := io.ReadFull(r, body); err != nil {
				return finish(out, text)
			}
			size -= gtidSize
			text += uuid(body[1:17]) + ":" + strconv.FormatUint(binary.LittleEndian.Uint64(body[17:25]), 10) + ","
			if len(text) > 1<<16 {
				var err error
				if out, err = finish(out, text); err != nil {
					return out, err
				}
				text = ""
			}
		}
		if n, err := io.CopyN(io.Discard, r, int64(size)); n < int64(size) || err != nil {
			break
		}
	}
	return finish(out, text)
}

// finish adds named transactions to the contents.
func finish(c Contents, text string) (Contents, error) {
	set, err := gtid.Parse(text)
	if err != nil {
		return c, fmt.Errorf("read log file: %w", err)
	}
	c.Set = c.Set.Union(set)
	return c, nil
}

// uuid writes 16 bytes as a server UUID.
func uuid(b []byte) string {
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
