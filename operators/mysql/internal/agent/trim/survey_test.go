package trim

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	sets "github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
)

const (
	own    = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	source = "8a94f357-aab4-11df-86ab-c80aa9429444"
	third  = "c0ffee00-aab4-11df-86ab-c80aa9429444"
)

// raw builds an event with its checksum.
func raw(typ eventType, flags uint16, body []byte) []byte {
	size := headerSize + len(body) + checksumSize
	out := make([]byte, headerSize, size)
	out[4] = byte(typ)
	binary.LittleEndian.PutUint32(out[9:13], uint32(size))
	binary.LittleEndian.PutUint16(out[17:19], flags)
	out = append(out, body...)
	summed := slices.Clone(out)
	if typ == typeFormat {
		summed[17] &^= inUse
	}
	return binary.LittleEndian.AppendUint32(out, crc32.ChecksumIEEE(summed))
}

func server(t testing.TB, uuid string) []byte {
	t.Helper()
	id, err := hex.DecodeString(strings.ReplaceAll(uuid, "-", ""))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// format is a file's first event.
func format(flags uint16, checksums byte) []byte {
	body := make([]byte, 2+50+4+1+40+1)
	body[0], body[2+50+4], body[len(body)-1] = formatVersion, headerSize, checksums
	return raw(typeFormat, flags, body)
}

// earlier is the event with the transactions first to last of earlier files; none if last is 0.
func earlier(t testing.TB, uuid string, first, last uint64) []byte {
	t.Helper()
	if last == 0 {
		return raw(typePreviousGTIDs, 0, make([]byte, 8))
	}
	body := binary.LittleEndian.AppendUint64(nil, 1)
	body = append(body, server(t, uuid)...)
	for _, n := range []uint64{1, first, last + 1} {
		body = binary.LittleEndian.AppendUint64(body, n)
	}
	return raw(typePreviousGTIDs, 0x80, body)
}

func begin(t testing.TB, uuid string, number uint64) []byte {
	t.Helper()
	body := append([]byte{0}, server(t, uuid)...)
	body = binary.LittleEndian.AppendUint64(body, number)
	return raw(typeGTID, 0, append(body, make([]byte, 17)...))
}

// statement builds a statement's event with the given status variables.
func statement(status []byte, text string) []byte {
	body := make([]byte, 4+4+1+2+2)
	body[8] = 4
	binary.LittleEndian.PutUint16(body[11:], uint16(len(status)))
	body = append(append(append(body, status...), "shop\x00"...), text...)
	return raw(typeQuery, 0, body)
}

func xid() []byte { return raw(typeXID, 0, make([]byte, 8)) }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// rows is a whole transaction of rows.
func rows(t testing.TB, uuid string, number uint64) []byte {
	t.Helper()
	return join(begin(t, uuid, number), statement(nil, "BEGIN"), raw(typeRowsQuery, 0, []byte("x")), raw(typeTableMap, 0, make([]byte, 30)),
		raw(typeWriteRows, 0, bytes.Repeat([]byte("r"), 300)), raw(typeUpdateRows, 0, []byte("u")), raw(typeDeleteRows, 0, []byte("d")), xid())
}

// twoPhase are status variables as mysqld writes them before the mark of a statement that takes part in the commit.
func twoPhase() []byte {
	return join([]byte{0, 0, 0, 0, 0}, []byte{1, 1, 2, 3, 4, 5, 6, 7, 8}, []byte{6, 3, 's', 't', 'd'}, []byte{4, 1, 1, 1, 1, 1, 1},
		[]byte{11, 1, 'u', 1, 'h'}, []byte{12, 1, 's', 0}, []byte{13, 1, 1, 1}, []byte{17, 9, 0, 0, 0, 0, 0, 0, 0}, []byte{18, 255, 0})
}

func schema(t testing.TB, number uint64, text string) []byte {
	t.Helper()
	return join(begin(t, own, number), statement(twoPhase(), text))
}

// file is a file of which transactions 1 to 3 of the server are known: one from earlier files, two here.
func file(t testing.TB, tail ...[]byte) []byte {
	t.Helper()
	return join([]byte(magic), format(inUse, checksumCRC32), earlier(t, own, 1, 1), rows(t, own, 2), rows(t, own, 3), join(tail...))
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
	put(t, filepath.Join(dir, index), []byte(names))
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

func set(t testing.TB, text string) sets.Set {
	t.Helper()
	s, err := sets.Parse(text)
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
		"a savepoint in it":              {file(t, begin(t, own, 4), statement(nil, "BEGIN"), statement(nil, "SAVEPOINT `a`"), raw(typeWriteRows, 0, nil), xid()), own + ":4", 0},
		"the last one torn in its rows":  {file(t, rows(t, own, 4), rows(t, own, 5)[:200]), own + ":4", 200},
		"the last one torn in its name":  {file(t, rows(t, own, 4), rows(t, own, 5)[:30]), own + ":4", 30},
		"torn within a header":           {file(t, rows(t, own, 4), rows(t, own, 5)[:9]), own + ":4", 9},
		"one alone, torn: mysqld's own":  {file(t, rows(t, own, 4)[:200]), "", 0},
		"a torn event after known ones":  {file(t, rows(t, own, 3)[:10]), "", 0},
		"nothing, in a file that closed": {join([]byte(magic), format(0, checksumCRC32), earlier(t, own, 1, 3)), "", 0},
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
	headed := func(parts ...[]byte) [][]byte { return [][]byte{join([]byte(magic), join(parts...))} }
	open := format(inUse, checksumCRC32)
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
		"closed":                             {headed(format(0, checksumCRC32), earlier(t, own, 1, 3), rows(t, own, 4)), "closed properly"},
		"without checksums":                  {headed(format(inUse, 0), earlier(t, own, 1, 3), rows(t, own, 4)), "no checksums"},
		"no first event":                     {headed(), "no whole first event"},
		"another first event":                {headed(earlier(t, own, 1, 3), rows(t, own, 4)), "format"},
		"no list of earlier transactions":    {headed(open, rows(t, own, 4)), "transactions of earlier files"},
		"an earlier one is unknown":          {headed(open, earlier(t, own, 1, 4), rows(t, own, 5)), "earlier files hold"},
		"earlier ones in a new form":         {headed(open, raw(typePreviousGTIDs, 0, []byte{1, 0, 0, 0, 0, 0, 0, 1}), rows(t, own, 4)), "form"},
		"a rotated file within the tail":     {[][]byte{file(t, rows(t, own, 4)), join([]byte(magic), open, earlier(t, own, 1, 3), rows(t, own, 5))}, "begins before the last file"},
		"the file before is torn":            {[][]byte{file(t, rows(t, own, 3)[:200]), file(t, rows(t, own, 4))}, "another file follows"},
		"the file before has tags":           {[][]byte{file(t, raw(typeTaggedGTID, 0, nil)), file(t, rows(t, own, 4))}, "tagged"},
		"rotated behind the cut":             {one(rows(t, own, 4), raw(typeRotate, 0, []byte("binlog.000009"))), "outside of any transaction"},
		"stopped behind the cut":             {one(rows(t, own, 4), raw(typeStop, 0, nil)), "outside of any transaction"},
		"tagged":                             {one(raw(typeTaggedGTID, 0, make([]byte, 50))), "tagged"},
		"tagged behind the cut":              {one(rows(t, own, 4), raw(typeTaggedGTID, 0, make([]byte, 50))), "tagged"},
		"anonymous behind the cut":           {one(rows(t, own, 4), raw(typeAnonymousGTID, 0, make([]byte, 50))), "without GTID"},
		"compressed":                         {one(begin(t, own, 4), raw(typePayload, 0, []byte("zstd"))), "compressed"},
		"XA PREPARE":                         {one(begin(t, own, 4), statement(nil, "XA START X'61',X'',1"), raw(typeXAPrepare, 0, nil)), "statement"},
		"XA PREPARE by its event":            {one(begin(t, own, 4), statement(nil, "BEGIN"), raw(typeXAPrepare, 0, nil)), "XA"},
		"XA COMMIT":                          {one(begin(t, own, 4), statement(nil, "XA COMMIT X'61',X'',1")), "statement"},
		"a database made":                    {one(schema(t, 4, "CREATE DATABASE x")), "statement"},
		"a database dropped":                 {one(schema(t, 4, "DROP DATABASE x")), "statement"},
		"a tablespace":                       {one(schema(t, 4, "CREATE TABLESPACE x ADD DATAFILE 'x.ibd'")), "statement"},
		"a tablespace by table":              {one(schema(t, 4, "ALTER TABLE t DISCARD TABLESPACE")), "statement"},
		"an account":                         {one(schema(t, 4, "CREATE USER x")), "statement"},
		"a table filled as it is made":       {one(schema(t, 4, "CREATE TABLE t (a INT) START TRANSACTION")), "statement"},
		"a schema change of another engine":  {one(begin(t, own, 4), statement(nil, "CREATE TABLE t (a INT) ENGINE=MyISAM")), "statement"},
		"variables that are not known":       {one(begin(t, own, 4), statement([]byte{99, 17, 1, 0, 0, 0, 0, 0, 0, 0}, "CREATE TABLE t (a INT)")), "statement"},
		"rows of MyISAM":                     {one(begin(t, own, 4), statement(nil, "BEGIN"), raw(typeWriteRows, 0, nil), statement(nil, "COMMIT")), "statement"},
		"a statement among rows":             {one(begin(t, own, 4), statement(nil, "BEGIN"), statement(nil, "INSERT INTO t VALUES (RAND())"), xid()), "statement"},
		"a user variable":                    {one(begin(t, own, 4), statement(nil, "BEGIN"), raw(14, 0, nil), xid()), "event of type 14"},
		"rows of an old form":                {one(begin(t, own, 4), statement(nil, "BEGIN"), raw(23, 0, nil), xid()), "event of type 23"},
		"an incident":                        {one(rows(t, own, 4), begin(t, own, 5), raw(26, 0, nil)), "event of type 26"},
		"a statement that is too short":      {one(begin(t, own, 4), raw(typeQuery, 0, []byte("x"))), "cannot be read"},
		"rows without a beginning":           {one(begin(t, own, 4), raw(typeWriteRows, 0, nil), xid()), "outside"},
		"a commit of nothing":                {one(begin(t, own, 4), xid()), "ends nothing"},
		"two beginnings":                     {one(begin(t, own, 4), rows(t, own, 5)), "before the one before"},
		"no end":                             {one(begin(t, own, 4), statement(nil, "BEGIN")), "has no end"},
		"twice the same":                     {one(rows(t, own, 4), rows(t, own, 4)), "occurs twice"},
		"a GTID event that is too short":     {one(raw(typeGTID, 0, make([]byte, 20))), "too short"},
		"number 0":                           {one(begin(t, own, 0)), "impossible number"},
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
		"no index": {func(dir string) { _ = os.Remove(filepath.Join(dir, index)) }, "index"},
		"an index cut short": {func(dir string) {
			put(t, filepath.Join(dir, index), []byte("./binlog.000001"))
		}, "damaged"},
		"an empty index": {func(dir string) { put(t, filepath.Join(dir, index), nil) }, "no file"},
		"a file that the index does not know": {func(dir string) {
			put(t, filepath.Join(dir, "binlog.000002"), file(t))
		}, "not in the index"},
		"the remains of a rotation": {func(dir string) {
			put(t, filepath.Join(dir, "binlog.index_crash_safe"), nil)
		}, "not in the index"},
		"a file that is missing": {func(dir string) {
			put(t, filepath.Join(dir, "binlog.000001"), file(t))
			put(t, filepath.Join(dir, index), []byte("./binlog.000001\n./binlog.000002\n"))
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
	if InUse(write(t, join([]byte(magic), format(0, checksumCRC32)))) {
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
	f.Add(file(f, begin(f, own, 4), raw(typePayload, 0, nil)), uint64(2), uint(200), byte(255))
	f.Fuzz(func(t *testing.T, content []byte, upTo uint64, at uint, flip byte) {
		content = slices.Clone(content)
		if len(content) > 0 {
			content[at%uint(len(content))] ^= flip
		}
		content = resum(content)
		k := known(t)
		k.Holds = sets.Set{}
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
	r, err := newReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return Tail{}, err
	}
	s := survey{known: k}
	if err := s.run(r); err != nil {
		return Tail{}, err
	}
	return s.result()
}

// resum makes the checksums of what looks like events good, so that fuzzing gets past them.
func resum(content []byte) []byte {
	for at := len(magic); at+headerSize+checksumSize <= len(content); {
		size := int(binary.LittleEndian.Uint32(content[at+9 : at+13]))
		if size < headerSize+checksumSize || size > len(content)-at {
			break
		}
		e := content[at : at+size]
		summed := slices.Clone(e[:size-checksumSize])
		if eventType(e[4]) == typeFormat {
			summed[17] &^= inUse
		}
		binary.LittleEndian.PutUint32(e[size-checksumSize:], crc32.ChecksumIEEE(summed))
		at += size
	}
	return content
}

func decimal(n uint64) string {
	out := ""
	for ; n > 0; n /= 10 {
		out = string(rune('0'+n%10)) + out
	}
	return out
}
