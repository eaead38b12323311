package trim

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/binlog"
	"github.com/kapok-operators/kapok/operators/mysql/internal/binlog/binlogtest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
)

const (
	own    = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	source = "8a94f357-aab4-11df-86ab-c80aa9429444"
	third  = "c0ffee00-aab4-11df-86ab-c80aa9429444"
)

// begin names a transaction.
func begin(server string, number uint64) []byte {
	return binlogtest.Begin(server, number, time.Unix(1, 0))
}

// tagged is the event with one transaction of earlier files that has a tag.
func tagged(server, tag string, number uint64) []byte {
	plain := binlogtest.Previous(server, number, number)
	body := plain[binlogtest.HeaderSize : len(plain)-binlogtest.ChecksumSize]
	with := append([]byte{1, 1, 0, 0, 0, 0, 0, 1}, body[8:24]...)
	with = append(append(with, byte(2*len(tag))), tag...)
	return binlogtest.Event(binlog.PreviousGTIDs, 0, append(with, body[24:]...))
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// rows is a whole transaction of rows.
func rows(t testing.TB, uuid string, number uint64) []byte {
	t.Helper()
	return join(begin(uuid, number), binlogtest.Statement(nil, "BEGIN"), binlogtest.Event(binlog.RowsQuery, 0, []byte("x")), binlogtest.Event(binlog.TableMap, 0, make([]byte, 30)),
		binlogtest.Event(binlog.WriteRows, 0, bytes.Repeat([]byte("r"), 300)), binlogtest.Event(binlog.UpdateRows, 0, []byte("u")), binlogtest.Event(binlog.DeleteRows, 0, []byte("d")), binlogtest.XID())
}

// twoPhase are status variables as mysqld writes them before the mark of a statement that takes part in the commit.
func twoPhase() []byte {
	return join([]byte{0, 0, 0, 0, 0}, []byte{1, 1, 2, 3, 4, 5, 6, 7, 8}, []byte{6, 3, 's', 't', 'd'}, []byte{4, 1, 1, 1, 1, 1, 1},
		[]byte{11, 1, 'u', 1, 'h'}, []byte{12, 1, 's', 0}, []byte{13, 1, 1, 1}, []byte{17, 9, 0, 0, 0, 0, 0, 0, 0}, []byte{18, 255, 0})
}

func schema(t testing.TB, number uint64, text string) []byte {
	t.Helper()
	return join(begin(own, number), binlogtest.Statement(twoPhase(), text))
}

// file is a file of which transactions 1 to 3 of the server are known: one from earlier files, two here.
func file(t testing.TB, tail ...[]byte) []byte {
	t.Helper()
	return join([]byte(binlog.Magic), binlogtest.Format(binlogtest.InUse, binlogtest.CRC32), binlogtest.Previous(own, 1, 1), rows(t, own, 2), rows(t, own, 3), join(tail...))
}

// write makes a data folder with these files of the binary log.
func write(t testing.TB, files ...[]byte) string {
	t.Helper()
	dir := t.TempDir()
	names := ""
	for i, content := range files {
		name := "binlog.00000" + string(rune('1'+i))
		names += "./" + name + "\n"
		put(t, filepath.Join(dir, name), content)
	}
	put(t, filepath.Join(dir, binlog.Index), []byte(names))
	return dir
}

func put(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func known(t testing.TB) Known {
	t.Helper()
	return Known{Own: own, Source: source, Holds: set(t, own+":1-3,"+third+":1-50")}
}

func set(t testing.TB, text string) gtid.Set {
	t.Helper()
	s, err := gtid.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSurveyFindsExactlyTheTail(t *testing.T) {
	keep := int64(len(file(t)))
	for name, tc := range map[string]struct {
		file    []byte
		removed string
		torn    int
	}{
		"nothing beyond what is known":   {file(t), "", 0},
		"of the source, however new":     {file(t, rows(t, source, 999)), "", 0},
		"of a third server, known":       {file(t, rows(t, third, 50)), "", 0},
		"one":                            {file(t, rows(t, own, 4)), own + ":4", 0},
		"many":                           {file(t, rows(t, own, 4), rows(t, own, 5), rows(t, own, 6)), own + ":4-6", 0},
		"with a gap":                     {file(t, rows(t, own, 4), rows(t, own, 9)), own + ":4:9", 0},
		"a table made":                   {file(t, schema(t, 4, "CREATE TABLE t (a INT)"), rows(t, own, 5)), own + ":4-5", 0},
		"an index, in lower case":        {file(t, schema(t, 4, "create unique  index i on t (a)")), own + ":4", 0},
		"a savepoint in it":              {file(t, begin(own, 4), binlogtest.Statement(nil, "BEGIN"), binlogtest.Statement(nil, "SAVEPOINT `a`"), binlogtest.Event(binlog.WriteRows, 0, nil), binlogtest.XID()), own + ":4", 0},
		"the last one torn in its rows":  {file(t, rows(t, own, 4), rows(t, own, 5)[:200]), own + ":4", 200},
		"the last one torn in its name":  {file(t, rows(t, own, 4), rows(t, own, 5)[:30]), own + ":4", 30},
		"torn within a header":           {file(t, rows(t, own, 4), rows(t, own, 5)[:9]), own + ":4", 9},
		"one alone, torn: mysqld's own":  {file(t, rows(t, own, 4)[:200]), "", 0},
		"a torn event after known ones":  {file(t, rows(t, own, 3)[:10]), "", 0},
		"nothing, in a file that closed": {join([]byte(binlog.Magic), binlogtest.Format(0, binlogtest.CRC32), binlogtest.Previous(own, 1, 3)), "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			tail, err := Survey(write(t, tc.file), known(t))
			if err != nil {
				t.Fatal(err)
			}
			if got := tail.Removed.String(); got != tc.removed {
				t.Fatalf("it removes %q, want %q", got, tc.removed)
			}
			if tc.removed == "" {
				return
			}
			if tail.Position != keep || tail.Size != int64(len(tc.file)) || tail.Size-tail.End != int64(tc.torn) || tail.Preamble >= tail.Position {
				t.Errorf("%+v, want a cut at %d with %d bytes torn", tail, keep, tc.torn)
			}
		})
	}
}

func TestEveryDoubtLeavesTheLogAsItIs(t *testing.T) {
	one := func(parts ...[]byte) [][]byte { return [][]byte{file(t, parts...)} }
	flipped := func(content []byte, at int) [][]byte {
		out := slices.Clone(content)
		out[at] ^= 1
		return [][]byte{out}
	}
	headed := func(parts ...[]byte) [][]byte { return [][]byte{join([]byte(binlog.Magic), join(parts...))} }
	open := binlogtest.Format(binlogtest.InUse, binlogtest.CRC32)
	for name, tc := range map[string]struct {
		files [][]byte
		why   string
	}{
		"a known one behind the cut":         {one(rows(t, own, 4), rows(t, own, 3)), "stands behind"},
		"the source's behind the cut":        {one(rows(t, own, 4), rows(t, source, 7)), "stands behind"},
		"another server's":                   {one(rows(t, third, 51)), "another server"},
		"another server's behind the cut":    {one(rows(t, own, 4), rows(t, third, 51)), "another server"},
		"encrypted":                          {[][]byte{[]byte("\xfdbin and the rest is encrypted")}, "encrypted"},
		"empty":                              {[][]byte{nil}, "encrypted"},
		"closed":                             {headed(binlogtest.Format(0, binlogtest.CRC32), binlogtest.Previous(own, 1, 3), rows(t, own, 4)), "closed properly"},
		"without checksums":                  {headed(binlogtest.Format(binlogtest.InUse, 0), binlogtest.Previous(own, 1, 3), rows(t, own, 4)), "no checksums"},
		"no first event":                     {headed(), "no whole first event"},
		"another first event":                {headed(binlogtest.Previous(own, 1, 3), rows(t, own, 4)), "format"},
		"no list of earlier transactions":    {headed(open, rows(t, own, 4)), "transactions of earlier files"},
		"an earlier one is unknown":          {headed(open, binlogtest.Previous(own, 1, 4), rows(t, own, 5)), "earlier files hold"},
		"earlier ones in a form of tomorrow": {headed(open, binlogtest.Event(binlog.PreviousGTIDs, 0, []byte{2, 0, 0, 0, 0, 0, 0, 2}), rows(t, own, 4)), "form"},
		"earlier ones with a tag":            {headed(open, tagged(own, "night", 7), rows(t, own, 4)), "tagged"},
		"a rotated file within the tail":     {[][]byte{file(t, rows(t, own, 4)), join([]byte(binlog.Magic), open, binlogtest.Previous(own, 1, 3), rows(t, own, 5))}, "begins before the last file"},
		"the file before is torn":            {[][]byte{file(t, rows(t, own, 3)[:200]), file(t, rows(t, own, 4))}, "another file follows"},
		"the file before has tags":           {[][]byte{file(t, binlogtest.Event(binlog.TaggedGTID, 0, nil)), file(t, rows(t, own, 4))}, "tagged"},
		"rotated behind the cut":             {one(rows(t, own, 4), binlogtest.Event(binlog.Rotate, 0, []byte("binlog.000009"))), "outside of any transaction"},
		"stopped behind the cut":             {one(rows(t, own, 4), binlogtest.Event(binlog.Stop, 0, nil)), "outside of any transaction"},
		"tagged":                             {one(binlogtest.Event(binlog.TaggedGTID, 0, make([]byte, 50))), "tagged"},
		"tagged behind the cut":              {one(rows(t, own, 4), binlogtest.Event(binlog.TaggedGTID, 0, make([]byte, 50))), "tagged"},
		"anonymous behind the cut":           {one(rows(t, own, 4), binlogtest.Event(binlog.AnonymousGTID, 0, make([]byte, 50))), "without GTID"},
		"compressed":                         {one(begin(own, 4), binlogtest.Event(binlog.Payload, 0, []byte("zstd"))), "compressed"},
		"XA PREPARE":                         {one(begin(own, 4), binlogtest.Statement(nil, "XA START X'61',X'',1"), binlogtest.Event(binlog.XAPrepare, 0, nil)), "statement"},
		"XA PREPARE by its event":            {one(begin(own, 4), binlogtest.Statement(nil, "BEGIN"), binlogtest.Event(binlog.XAPrepare, 0, nil)), "XA"},
		"XA COMMIT":                          {one(begin(own, 4), binlogtest.Statement(nil, "XA COMMIT X'61',X'',1")), "statement"},
		"a database made":                    {one(schema(t, 4, "CREATE DATABASE x")), "statement"},
		"a database dropped":                 {one(schema(t, 4, "DROP DATABASE x")), "statement"},
		"a tablespace":                       {one(schema(t, 4, "CREATE TABLESPACE x ADD DATAFILE 'x.ibd'")), "statement"},
		"a tablespace by table":              {one(schema(t, 4, "ALTER TABLE t DISCARD TABLESPACE")), "statement"},
		"an account":                         {one(schema(t, 4, "CREATE USER x")), "statement"},
		"a table filled as it is made":       {one(schema(t, 4, "CREATE TABLE t (a INT) START TRANSACTION")), "statement"},
		"a schema change of another engine":  {one(begin(own, 4), binlogtest.Statement(nil, "CREATE TABLE t (a INT) ENGINE=MyISAM")), "statement"},
		"variables that are not known":       {one(begin(own, 4), binlogtest.Statement([]byte{99, 17, 1, 0, 0, 0, 0, 0, 0, 0}, "CREATE TABLE t (a INT)")), "statement"},
		"rows of MyISAM":                     {one(begin(own, 4), binlogtest.Statement(nil, "BEGIN"), binlogtest.Event(binlog.WriteRows, 0, nil), binlogtest.Statement(nil, "COMMIT")), "statement"},
		"a statement among rows":             {one(begin(own, 4), binlogtest.Statement(nil, "BEGIN"), binlogtest.Statement(nil, "INSERT INTO t VALUES (RAND())"), binlogtest.XID()), "statement"},
		"a user variable":                    {one(begin(own, 4), binlogtest.Statement(nil, "BEGIN"), binlogtest.Event(14, 0, nil), binlogtest.XID()), "event of type 14"},
		"rows of an old form":                {one(begin(own, 4), binlogtest.Statement(nil, "BEGIN"), binlogtest.Event(23, 0, nil), binlogtest.XID()), "event of type 23"},
		"an incident":                        {one(rows(t, own, 4), begin(own, 5), binlogtest.Event(26, 0, nil)), "event of type 26"},
		"a statement that is too short":      {one(begin(own, 4), binlogtest.Event(binlog.Query, 0, []byte("x"))), "cannot be read"},
		"rows without a beginning":           {one(begin(own, 4), binlogtest.Event(binlog.WriteRows, 0, nil), binlogtest.XID()), "outside"},
		"a commit of nothing":                {one(begin(own, 4), binlogtest.XID()), "ends nothing"},
		"two beginnings":                     {one(begin(own, 4), rows(t, own, 5)), "before the one before"},
		"no end":                             {one(begin(own, 4), binlogtest.Statement(nil, "BEGIN")), "has no end"},
		"twice the same":                     {one(rows(t, own, 4), rows(t, own, 4)), "occurs twice"},
		"a GTID event that is too short":     {one(binlogtest.Event(binlog.GTID, 0, make([]byte, 20))), "too short"},
		"number 0":                           {one(begin(own, 0)), "impossible number"},
		"a flipped bit in what is known":     {flipped(file(t, rows(t, own, 4)), len(file(t))-50), "checksum"},
		"a flipped bit in the tail":          {flipped(file(t, rows(t, own, 4)), len(file(t))+100), "checksum"},
		"a flipped bit in the last event":    {flipped(file(t, rows(t, own, 4)), len(file(t, rows(t, own, 4)))-6), "checksum"},
		"a flipped bit in the first event":   {flipped(file(t, rows(t, own, 4)), 30), "checksum"},
		"an impossible size":                 {one(rows(t, own, 4), append(make([]byte, 9), 5, 0, 0, 0, 0, 0, 0, 0, 0, 0)), "impossible size"},
		"a torn known one behind a tail one": {one(rows(t, own, 4), rows(t, own, 3)[:200]), "stands behind"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, tc.files...)
			tail, err := Survey(dir, known(t))
			if _, ok := errors.AsType[*Doubt](err); !ok {
				t.Fatalf("no doubt: %+v, %v", tail, err)
			}
			if !strings.Contains(err.Error(), tc.why) {
				t.Errorf("the doubt is %q, want one about %q", err, tc.why)
			}
			for i, content := range tc.files {
				is, err := os.ReadFile(filepath.Join(dir, "binlog.00000"+string(rune('1'+i))))
				if err != nil || !bytes.Equal(is, content) {
					t.Errorf("file %d was changed: %v", i+1, err)
				}
			}
		})
	}
}

func TestDoubtsAboutTheFolder(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(dir string)
		why   string
	}{
		"no index": {func(dir string) { _ = os.Remove(filepath.Join(dir, binlog.Index)) }, "index"},
		"an index cut short": {func(dir string) {
			put(t, filepath.Join(dir, binlog.Index), []byte("./binlog.000001"))
		}, "damaged"},
		"an empty index": {func(dir string) { put(t, filepath.Join(dir, binlog.Index), nil) }, "no file"},
		"a file that the index does not know": {func(dir string) {
			put(t, filepath.Join(dir, "binlog.000002"), file(t))
		}, "not in the index"},
		"the remains of a rotation": {func(dir string) {
			put(t, filepath.Join(dir, "binlog.index_crash_safe"), nil)
		}, "not in the index"},
		"a file that is missing": {func(dir string) {
			put(t, filepath.Join(dir, "binlog.000001"), file(t))
			put(t, filepath.Join(dir, binlog.Index), []byte("./binlog.000001\n./binlog.000002\n"))
		}, "does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, file(t, rows(t, own, 4)))
			tc.spoil(dir)
			_, err := Survey(dir, known(t))
			if _, ok := errors.AsType[*Doubt](err); !ok || !strings.Contains(err.Error(), tc.why) {
				t.Errorf("%v, want a doubt about %q", err, tc.why)
			}
		})
	}
}

func TestInUse(t *testing.T) {
	if !InUse(write(t, file(t))) {
		t.Error("a killed server's log counts as closed")
	}
	if InUse(write(t, join([]byte(binlog.Magic), binlogtest.Format(0, binlogtest.CRC32)))) {
		t.Error("a closed log counts as in use")
	}
	if !InUse(t.TempDir()) || !InUse(write(t, []byte("x"))) {
		t.Error("what cannot be read counts as closed")
	}
}

func TestCutIsRepeatedAndNeverMoved(t *testing.T) {
	dir := write(t, file(t, rows(t, own, 4)))
	tail, err := Survey(dir, known(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Cut(tail.File, tail.Position, tail.Size); err != nil {
			t.Fatal(err)
		}
	}
	if is, err := os.ReadFile(tail.File); err != nil || !bytes.Equal(is, file(t)) {
		t.Errorf("the cut file has %d bytes, want %d: %v", len(is), len(file(t)), err)
	}
	if again, err := Survey(dir, known(t)); err != nil || !again.IsEmpty() {
		t.Errorf("after the cut: %+v, %v", again, err)
	}
	put(t, tail.File, file(t, rows(t, own, 4), rows(t, own, 5)))
	for name, at := range map[string][2]int64{
		"a file that has grown": {tail.Position, tail.Size}, "nothing": {tail.Size, tail.Size}, "everything": {0, tail.Size},
	} {
		if _, ok := errors.AsType[*Doubt](Cut(tail.File, at[0], at[1])); !ok {
			t.Errorf("%s was cut", name)
		}
	}
	if is, err := os.ReadFile(tail.File); err != nil || !bytes.Equal(is, file(t, rows(t, own, 4), rows(t, own, 5))) {
		t.Errorf("the file was changed: %v", err)
	}
}

// FuzzNothingKnownIsEverRemoved cuts whatever it is given, if there is no doubt about it. What is cut off must be what was
// said, none of it known, and what is left a whole log with nothing more to remove.
func FuzzNothingKnownIsEverRemoved(f *testing.F) {
	f.Add(file(f, rows(f, own, 4)), uint64(3), uint(0), byte(0))
	f.Add(file(f, rows(f, own, 4), schema(f, 5, "CREATE TABLE t (a INT)"), rows(f, own, 6)[:100]), uint64(4), uint(90), byte(3))
	f.Add(file(f, begin(own, 4), binlogtest.Event(binlog.Payload, 0, nil)), uint64(2), uint(200), byte(255))
	f.Fuzz(func(t *testing.T, content []byte, upTo uint64, at uint, flip byte) {
		content = slices.Clone(content)
		if len(content) > 0 {
			content[at%uint(len(content))] ^= flip
		}
		content = binlogtest.Sum(content)
		k := known(t)
		k.Holds = gtid.Set{}
		if upTo > 0 && upTo < 1<<62 {
			k.Holds = set(t, own+":1-"+decimal(upTo))
		}
		tail, err := surveyBytes(content, k)
		if err != nil || tail.IsEmpty() {
			return
		}
		if !tail.Removed.Intersect(k.Holds).IsEmpty() || !tail.Removed.Equal(tail.Removed.Of(own)) {
			t.Fatalf("it removes %s, and %s are known", tail.Removed, k.Holds)
		}
		if tail.Position < tail.Preamble || tail.End <= tail.Position || tail.Size != int64(len(content)) || tail.End > tail.Size {
			t.Fatalf("%+v of %d bytes", tail, len(content))
		}
		if again, err := surveyBytes(content[:tail.Position], k); err != nil || !again.IsEmpty() {
			t.Fatalf("after the cut: %+v, %v", again, err)
		}
	})
}

// surveyBytes looks for the tail in a file that is in memory.
func surveyBytes(content []byte, k Known) (Tail, error) {
	r, err := binlog.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return Tail{}, err
	}
	s := survey{known: k}
	if err := s.run(r); err != nil {
		return Tail{}, doubtful(err)
	}
	return s.result()
}

func decimal(n uint64) string {
	out := ""
	for ; n > 0; n /= 10 {
		out = string(rune('0'+n%10)) + out
	}
	return out
}
