package binlog_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/binlog"
	"github.com/kapok-operators/kapok/operators/mysql/internal/binlog/binlogtest"
)

const server = "3e11fa47-71ca-11e1-9e33-c80aa9429562"

// whole is a file with two transactions.
func whole() []byte {
	at := time.UnixMicro(1_700_000_000_123_456)
	return bytes.Join([][]byte{
		[]byte(binlog.Magic), binlogtest.Format(binlogtest.InUse, binlogtest.CRC32), binlogtest.Previous(server, 1, 3),
		binlogtest.Begin(server, 4, at), binlogtest.Statement(nil, "CREATE TABLE t (a INT)"),
		binlogtest.Begin(server, 5, at.Add(time.Microsecond)), binlogtest.Statement(nil, "BEGIN"), binlogtest.XID(),
	}, nil)
}

// read reads a file to its end and returns what it saw.
func read(file []byte) (seen []binlog.Transaction, events int, err error) {
	r, err := binlog.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return nil, 0, err
	}
	if _, _, err := r.Format(); err != nil {
		return nil, 0, err
	}
	for {
		e, err := r.Next()
		if err != nil {
			return seen, events, err
		}
		events++
		switch e.Type {
		case binlog.PreviousGTIDs:
			if _, err := binlog.Previous(e); err != nil {
				return seen, events, err
			}
		case binlog.GTID, binlog.TaggedGTID:
			tr, err := binlog.Begin(e)
			if err != nil {
				return seen, events, err
			}
			seen = append(seen, tr)
		default:
		}
	}
}

func TestEveryEventIsSeenAndCanBeCopied(t *testing.T) {
	seen, events, err := read(whole())
	if !errors.Is(err, io.EOF) || events != 6 || len(seen) != 2 {
		t.Fatalf("%d events, %v, %v", events, seen, err)
	}
	if seen[0].String() != server+":4" || !seen[1].Committed.Equal(time.UnixMicro(1_700_000_000_123_457)) {
		t.Errorf("seen: %s of %s", seen[0], seen[1].Committed)
	}

	// What is copied event by event is the file again.
	r, err := binlog.NewReader(bytes.NewReader(whole()), int64(len(whole())))
	if err != nil {
		t.Fatal(err)
	}
	copied := []byte(binlog.Magic)
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || e.Offset != int64(len(copied)) {
			t.Fatalf("at %d: %v", e.Offset, err)
		}
		copied = append(copied, e.Raw...)
	}
	if !bytes.Equal(copied, whole()) {
		t.Error("the copy is not the file")
	}
}

func TestAFileThatIsBeingWrittenEndsTorn(t *testing.T) {
	ends := map[int]bool{}
	for at, r := 0, must(t, whole()); ; {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		at = int(e.Offset) + len(e.Raw)
		ends[at] = true
	}
	first := len(binlog.Magic) + len(binlogtest.Format(0, 1))
	for n := first; n < len(whole()); n++ {
		_, _, err := read(whole()[:n])
		if want := map[bool]error{true: io.EOF, false: binlog.ErrTorn}[ends[n]]; !errors.Is(err, want) {
			t.Errorf("cut at %d: %v, want %v", n, err, want)
		}
	}
}

func must(t *testing.T, file []byte) *binlog.Reader {
	t.Helper()
	r, err := binlog.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNoChangedByteIsRead(t *testing.T) {
	for at := range whole() {
		if at >= len(binlog.Magic)+17 && at < len(binlog.Magic)+18 {
			continue // The flag of a file that is not closed: it is not in the checksum.
		}
		file := whole()
		file[at] ^= 0x10
		_, _, err := read(file)
		if _, wrong := errors.AsType[*binlog.FormatError](err); !wrong && !errors.Is(err, binlog.ErrTorn) {
			t.Errorf("byte %d was changed, and that gave %v", at, err)
		}
	}
}

func TestWhatNoServerWritesIsSaidSo(t *testing.T) {
	start := func(parts ...[]byte) []byte {
		return slices.Concat([]byte(binlog.Magic), binlogtest.Format(0, binlogtest.CRC32), bytes.Join(parts, nil))
	}
	for name, test := range map[string]struct {
		file []byte
		want string
	}{
		"encrypted":               {[]byte("\xfdbin0000"), "encrypted"},
		"without checksums":       {append([]byte(binlog.Magic), binlogtest.Format(0, 0)...), "checksums"},
		"without a first event":   {[]byte(binlog.Magic), "first event"},
		"a name that is short":    {start(binlogtest.Event(binlog.GTID, 0, make([]byte, 24))), "too short"},
		"number 0":                {start(binlogtest.Begin(server, 0, time.Unix(0, 0))), "number"},
		"number 2^63":             {start(binlogtest.Begin(server, 1<<63, time.Unix(0, 0))), "number"},
		"a tag that is cut":       {start(binlogtest.Event(binlog.TaggedGTID, 0, []byte{2, 200})), "form"},
		"earlier ones, too many":  {start(binlogtest.Event(binlog.PreviousGTIDs, 0, []byte{0, 0, 0, 0, 0, 0, 1, 0})), "form"},
		"earlier ones, too short": {start(binlogtest.Event(binlog.PreviousGTIDs, 0, []byte{1, 0})), "form"},
		"earlier ones of later":   {start(binlogtest.Event(binlog.PreviousGTIDs, 0, []byte{2, 0, 0, 0, 0, 0, 0, 2})), "form"},
		"earlier ones, backwards": {start(binlogtest.Previous(server, 9, 3)), "form"},
		"impossible numbers":      {start(binlogtest.Previous(server, 9, 1<<63)), "cannot be"},
	} {
		_, _, err := read(test.file)
		if broken, ok := errors.AsType[*binlog.FormatError](err); !ok || !strings.Contains(broken.Why, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzNothingIsBelieved reads what is not a binary log. It must end, with an error at the end of what can be read.
func FuzzNothingIsBelieved(f *testing.F) {
	f.Add(whole())
	f.Add(slices.Concat([]byte(binlog.Magic), binlogtest.Format(0, 1), binlogtest.Event(binlog.TaggedGTID, 0, make([]byte, 60))))
	f.Add(slices.Concat([]byte(binlog.Magic), binlogtest.Format(0, 1), binlogtest.Event(binlog.PreviousGTIDs, 0, []byte{1, 1, 0, 0, 0, 0, 0, 1, 5})))
	f.Fuzz(func(t *testing.T, file []byte) {
		if _, _, err := read(binlogtest.Sum(slices.Clone(file))); err == nil {
			t.Error("it has no end")
		}
	})
}
