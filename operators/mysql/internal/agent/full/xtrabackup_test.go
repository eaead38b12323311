package full_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/full"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/binlog"
	"github.com/kapok-operators/kapok/operators/mysql/internal/binlog/binlogtest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/standin"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/stores"
	"github.com/kapok-operators/kapok/shared/agent"
	"github.com/kapok-operators/kapok/shared/objectstore"
)

const (
	source = "11111111-1111-1111-1111-111111111111"
	// completed ends what the stand-ins say.
	completed = `echo "2026-01-01T00:00:00.0-00:00 0 [Note] [MY-011825] [Xtrabackup] completed OK!" >&2` + "\n"
)

// told is a server that says one thing after the other, and copies nothing.
type told struct{ executed []string }

func (s *told) Version(context.Context) (string, error) { return "9.9.9", nil }

func (s *told) Executed(context.Context) (string, error) {
	next := s.executed[0]
	if len(s.executed) > 1 {
		s.executed = s.executed[1:]
	}
	return next, nil
}

func (s *told) CopyTo(context.Context, string) error {
	return errors.New("there is nothing to copy here")
}

func (s *told) Uncopied(context.Context) ([]string, error) { return []string{"shop.t (MyISAM)"}, nil }

func (s *told) OptionFile(group string) string { return "[" + group + "]\npassword = \"topsecret\"\n" }

// stand is a server that is backed up by stand-ins, and where the backup goes.
type stand struct {
	options full.Options
	// programs is where the stand-ins are, unpacked where a backup is unpacked.
	programs string
	id       *age.X25519Identity
}

// stage makes a stand. The stand-in for xtrabackup does nothing yet, that for xbstream writes down what it reads.
func stage(t *testing.T) *stand {
	t.Helper()
	root := t.TempDir()
	data, programs := filepath.Join(root, "data"), filepath.Join(root, "programs")
	log := bytes.Join([][]byte{[]byte(binlog.Magic), binlogtest.Format(binlogtest.InUse, binlogtest.CRC32), binlogtest.Earlier([]string{source}, []uint64{0}),
		binlogtest.Transaction(source, 1, time.Now(), make([]byte, 100))}, nil)
	if err := errors.Join(os.Mkdir(data, 0o700), os.Mkdir(programs, 0o700), os.WriteFile(filepath.Join(data, binlog.Index), []byte("./binlog.000001\n"), 0o600),
		os.WriteFile(filepath.Join(data, "binlog.000001"), log, 0o600), os.WriteFile(filepath.Join(data, "ibdata1"), make([]byte, 1000), 0o600)); err != nil {
		t.Fatal(err)
	}
	store := stores.Folder(t, t.TempDir())
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	standin.Program(t, programs, "xbstream", `[ "$1 $2" = "-x -C" ] && cat > "$3/stream"`+"\n")
	// Nothing of the machine's own.
	t.Setenv("PATH", "/usr/bin:/bin")
	return &stand{full.Options{
		Store: store, Cluster: uid, Name: "first", Instance: "shop-0", Server: &told{executed: []string{source + ":1-4"}}, DataDir: data,
		CopyDir: filepath.Join(root, "copy"), Recipients: []age.Recipient{id.Recipient()}, PartBytes: 100, Method: full.MethodXtraBackup,
		Tools: full.Tools{Mysqld: filepath.Join(programs, "mysqld"), RunDir: filepath.Join(root, "run"), Supervisor: &agent.Supervisor{}},
	}, programs, id}
}

// takes has the stand-in for xtrabackup do something when it takes a backup. When it prepares one, it checks that it was unpacked.
func (s *stand) takes(t *testing.T, script string) {
	t.Helper()
	standin.Program(t, s.programs, "xtrabackup", `if [ "$1" = --prepare ]; then
	[ -f "${2#--target-dir=}/stream" ]
	`+completed+`	exit 0
fi
`+script)
}

// nothing fails the test if anything is left of an attempt.
func (s *stand) nothing(t *testing.T, when string) {
	t.Helper()
	for info, err := range s.options.Store.List(t.Context(), "") {
		t.Errorf("%s: there is %s, %v", when, info.Key, err)
	}
	s.clean(t, when)
}

// clean fails the test if anything is left on the machine.
func (s *stand) clean(t *testing.T, when string) {
	t.Helper()
	for _, dir := range []string{s.options.CopyDir, s.options.Tools.RunDir} {
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %s is left: %v", when, dir, err)
		}
	}
}

// unpack unpacks a backup into a new folder.
func (s *stand) unpack(t *testing.T, m backup.Full) (string, error) {
	t.Helper()
	dir := t.TempDir()
	return dir, full.Unpack(t.Context(), full.Unpacking{
		Store: s.options.Store, Cluster: uid, Identities: []age.Identity{s.id}, DataDir: dir, Tools: s.options.Tools,
	}, m)
}

// content has xtrabackup stream some bytes.
func (s *stand) content(t *testing.T, r *rand.Rand, size int) []byte {
	t.Helper()
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(r.Uint32())
	}
	file := filepath.Join(s.programs, "content")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s.takes(t, "cat "+file+"\n"+completed)
	return content
}

// TestAStreamComesBackHoweverItIsCut streams random bytes in parts of random sizes, also such as end exactly with the stream.
func TestAStreamComesBackHoweverItIsCut(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 3))
	s := stage(t)
	sizes := []struct{ stream, part int }{{1, 1}, {1, 2}, {30, 1}, {3 << 20, 1 << 20}, {3<<20 + 1, 1 << 20}, {3<<20 - 1, 1 << 20}}
	for range 6 {
		stream := 1 + r.IntN(300_000)
		sizes = append(sizes, struct{ stream, part int }{stream, stream/20 + 1 + r.IntN(stream)})
	}
	for n, size := range sizes {
		content := s.content(t, r, size.stream)
		o := s.options
		o.Name, o.PartBytes = "n"+strconv.Itoa(n), int64(size.part)
		if n%3 == 0 {
			o.Recipients = nil
		}
		m, err := full.Take(t.Context(), o)
		if err != nil {
			t.Fatalf("%+v: %v", size, err)
		}
		if want := (size.stream + size.part - 1) / size.part; len(m.Parts) != want || m.Bytes != int64(size.stream) || m.Sealed != (n%3 != 0) {
			t.Errorf("%+v: %d parts of %d, %d bytes", size, len(m.Parts), want, m.Bytes)
		}
		catalog, err := backup.Load(t.Context(), o.Store, uid)
		if err != nil || len(catalog.Fulls) != n+1 || len(catalog.Loose) > 0 {
			t.Fatalf("catalog: %+v, %v", catalog, err)
		}
		dir, err := s.unpack(t, m)
		if err != nil {
			t.Fatalf("%+v: %v", size, err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "stream")); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%+v: %d other bytes come back, %v", size, len(got), err)
		}
	}
}

// TestTheProgramIsCalledAsItsDocumentationSays looks at what the program is given, and at what is left afterwards.
func TestTheProgramIsCalledAsItsDocumentationSays(t *testing.T) {
	s := stage(t)
	seen := filepath.Join(s.programs, "seen")
	s.takes(t, `
file=${1#--defaults-file=}
{ echo "$@"; stat -c %a "$file" "$(dirname "$file")"; cat "$file"; } > `+seen+`
for option in "$@"; do case $option in --target-dir=* | --tmpdir=* | --extra-lsndir=*) [ -d "${option#*=}" ] && [ -z "$(ls -A "${option#*=}")" ] ;; esac; done
head -c 250 /dev/zero
`+completed)
	var progress []int64
	s.options.Progress = func(done, of int64) { progress = append(progress, done, of) }
	s.options.Server = &told{executed: []string{source + ":1-4", source + ":1-6"}}
	m, err := full.Take(t.Context(), s.options)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	run, copied := s.options.Tools.RunDir, s.options.CopyDir
	want := fmt.Sprintf("--defaults-file=%s/xtrabackup.cnf --backup --stream=xbstream --target-dir=%s/target --tmpdir=%s/tmp --extra-lsndir=%s/info\n600\n700\n"+
		"[xtrabackup]\npassword = \"topsecret\"\ndatadir = \"%s\"\nloose-no-version-check\n", run, copied, copied, copied, s.options.DataDir)
	if string(raw) != want {
		t.Errorf("it was given\n%s\nand should be\n%s", raw, want)
	}
	if m.Method != "xtrabackup" || m.Version != "9.9.9" || m.Instance != "shop-0" || m.Holds.String() != source+":1-4" || m.Within.String() != source+":1-6" ||
		len(m.Parts) != 3 || m.Parts[2].Number != 3 || len(m.Parts[0].Files) > 0 || m.Newest.IsZero() || m.Finished.IsZero() {
		t.Errorf("manifest: %+v", m)
	}
	if want := []int64{0, 1000, 100, 1000, 200, 1000, 250, 1000}; fmt.Sprint(progress) != fmt.Sprint(want) {
		t.Errorf("progress: %d", progress)
	}
	s.clean(t, "stored")
}

// TestABackupThatIsNotWholeIsNotStored has the program fail at its beginning, in its middle and at its end, and end without saying that it is complete.
func TestABackupThatIsNotWholeIsNotStored(t *testing.T) {
	s := stage(t)
	fault := `echo "2026-01-01T00:00:00.0-00:00 0 [ERROR] [MY-011825] [Xtrabackup] the disk sighs" >&2` + "\n" +
		`echo "2026-01-01T00:00:00.0-00:00 0 [Note] [MY-011825] [Xtrabackup] Redo Log Archiving is not set up after that error" >&2` + "\n"
	some := "head -c 250 /dev/zero\n"
	info := func(set string) string {
		return `for option in "$@"; do case $option in --extra-lsndir=*) printf "binlog_pos = filename 'binlog.000001', position '4', GTID of the last change '` + set +
			`'\n" > "${option#*=}/xtrabackup_info" ;; esac; done` + "\n"
	}
	for name, c := range map[string]struct{ script, want string }{
		"at its beginning":     {fault + "exit 1\n", "xtrabackup exited with code 1: the disk sighs"},
		"in its middle":        {some + fault + "exit 1\n", "xtrabackup exited with code 1: the disk sighs"},
		"by an unknown option": {"echo 'xtrabackup: unknown option' >&2; exit 255\n", "xtrabackup exited with code 255: xtrabackup: unknown option"},
		"without a word":       {some + "exit 3\n", "xtrabackup exited with code 3"},
		"killed":               {some + "kill -9 $$\n", "xtrabackup killed by SIGKILL"},
		"at its end":           {some + completed + fault + "exit 1\n", "xtrabackup exited with code 1: the disk sighs"},
		"it is not complete":   {some + "echo 'Streaming ./shop/t.ibd' >&2\n", "without saying that it is complete; the last it said is: Streaming ./shop/t.ibd"},
		"it writes nothing":    {completed, "xtrabackup has written nothing"},
		"it holds too little":  {info(source+":1-3") + some + completed, "should hold " + source + ":1-4 at least"},
		"it holds too much":    {info(source+":1-4,\\n22222222-2222-2222-2222-222222222222:1") + some + completed, "should hold " + source + ":1-4 at least"},
		"it holds no set":      {info("nonsense") + some + completed, "read what xtrabackup has done"},
	} {
		t.Run(name, func(t *testing.T) {
			s.takes(t, c.script)
			m, err := full.Take(t.Context(), s.options)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, %v, want %q", m, err, c.want)
			}
			s.nothing(t, name)
		})
	}
	s.takes(t, info(source+":1-2,\\n"+source+":3-4")+some+completed)
	if _, err := full.Take(t.Context(), s.options); err != nil {
		t.Errorf("what is whole: %v", err)
	}
}

// TestWhoWaitsForNobodyIsEnded stops a program that would go on for ever: when the store fails, and when the backup is wanted no more.
func TestWhoWaitsForNobodyIsEnded(t *testing.T) {
	s := stage(t)
	child := filepath.Join(s.programs, "child")
	s.takes(t, "sleep 300 &\necho $! > "+child+".new\nmv "+child+".new "+child+"\nhead -c 250 /dev/zero\nwait\n")
	gone := func(when string) {
		t.Helper()
		raw, err := os.ReadFile(child)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); syscall.Kill(pid, 0) == nil && running(pid); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: what it has started goes on", when)
			}
		}
		s.nothing(t, when)
	}
	o := s.options
	// Its second part fills up, the third waits for more.
	o.Store = failing{s.options.Store, "/000003"}
	if _, err := full.Take(t.Context(), o); !errors.Is(err, errFailing) {
		t.Errorf("the store fails: %v", err)
	}
	gone("the store fails")
	if err := os.Remove(child); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(child); err == nil {
				cancel()
			}
		}
	}()
	if _, err := full.Take(ctx, s.options); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	gone("cancelled")
}

// running says whether a process has not ended: one that nobody has waited for is there, too.
func running(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(raw), ") Z ")
}

// TestAnImageWithoutTheProgramsIsTold says what to do about it, before anything is done.
func TestAnImageWithoutTheProgramsIsTold(t *testing.T) {
	s := stage(t)
	_, err := full.Take(t.Context(), s.options)
	missing, ok := errors.AsType[*full.MissingToolError](err)
	if !ok || missing.Program != "xtrabackup" || !strings.Contains(err.Error(), "spec.image") || !strings.Contains(err.Error(), "spec.backup.method: clone") {
		t.Errorf("take: %v", err)
	}
	s.nothing(t, "missing")
	s.options.Method = "magic"
	if _, err := full.Take(t.Context(), s.options); err == nil || !strings.Contains(err.Error(), `no method "magic"`) {
		t.Errorf("another method: %v", err)
	}
	s.options.Method = full.MethodXtraBackup
	s.takes(t, "echo content\n"+completed)
	m, err := full.Take(t.Context(), s.options)
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"xtrabackup", "xbstream"} {
		if err := os.Rename(filepath.Join(s.programs, program), filepath.Join(s.programs, "away")); err != nil {
			t.Fatal(err)
		}
		dir, err := s.unpack(t, m)
		if missing, ok := errors.AsType[*full.MissingToolError](err); !ok || missing.Program != program {
			t.Errorf("unpack without %s: %v", program, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("without %s something is unpacked: %v, %v", program, left, err)
		}
		if err := os.Rename(filepath.Join(s.programs, "away"), filepath.Join(s.programs, program)); err != nil {
			t.Fatal(err)
		}
	}
	// In PATH they are found as well.
	t.Setenv("PATH", s.programs+":/usr/bin:/bin")
	s.options.Tools.Mysqld = ""
	if _, err := s.unpack(t, m); err != nil {
		t.Errorf("from PATH: %v", err)
	}
	m.Method = "magic"
	if _, err := s.unpack(t, m); err == nil || !strings.Contains(err.Error(), `the method "magic"`) {
		t.Errorf("unpack what another method has taken: %v", err)
	}
}

// TestAStreamThatIsNotWholeIsNotUnpacked spoils what is stored, and has the programs fail.
func TestAStreamThatIsNotWholeIsNotUnpacked(t *testing.T) {
	s := stage(t)
	s.content(t, rand.New(rand.NewPCG(1, 2)), 1000)
	m, err := full.Take(t.Context(), s.options)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spoil func(m *backup.Full)
		is    error
		want  string
	}{
		"its end is missing":  {func(m *backup.Full) { m.Parts = m.Parts[:9] }, nil, "has 900 bytes, and its manifest says 1000"},
		"a part is missing":   {func(m *backup.Full) { m.Parts = append(m.Parts[:3:3], m.Parts[4:]...) }, nil, "has 900 bytes"},
		"a part was changed":  {func(m *backup.Full) { m.Parts[4].SHA256 = strings.Repeat("0", 64) }, objectstore.ErrCorrupt, "unpack part 5"},
		"a part is not there": {func(m *backup.Full) { m.Parts[4].Number = 40 }, objectstore.ErrNotFound, "unpack part 40"},
		"it should be open":   {func(m *backup.Full) { m.Sealed = false }, nil, "unpack part 1"},
		"parts change places": {func(m *backup.Full) { m.Parts[1].Digest, m.Parts[2].Digest = m.Parts[2].Digest, m.Parts[1].Digest }, objectstore.ErrCorrupt, "unpack part 2"},
		"xbstream cannot read": {func(*backup.Full) {
			standin.Program(t, s.programs, "xbstream", "head -c 200 >/dev/null; echo 'xbstream: wrong chunk magic' >&2; exit 1\n")
		}, nil, "xbstream exited with code 1: xbstream: wrong chunk magic"},
		"xbstream is at odds": {func(*backup.Full) {
			standin.Program(t, s.programs, "xbstream", "cat >/dev/null; echo 'no room' >&2; exit 1\n")
		}, nil, "xbstream exited with code 1: no room"},
		"it is not prepared": {func(*backup.Full) { standin.Program(t, s.programs, "xbstream", "cat >/dev/null\n") }, nil, "xtrabackup exited with code 1"},
	} {
		t.Run(name, func(t *testing.T) {
			standin.Program(t, s.programs, "xbstream", `cat > "$3/stream"`+"\n")
			spoilt := m
			spoilt.Parts = append([]backup.Part(nil), m.Parts...)
			c.spoil(&spoilt)
			if _, err := s.unpack(t, spoilt); err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	standin.Program(t, s.programs, "xbstream", "sleep 300\n")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := full.Unpack(ctx, full.Unpacking{Store: s.options.Store, Cluster: uid, Identities: []age.Identity{s.id}, DataDir: t.TempDir(), Tools: s.options.Tools}, m); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it waits for ever: %v", err)
	}
}

// TestWhatIsUnpackedAreDataAlone: what the program keeps for itself goes, and so do the logs of the server that was backed up. Nothing else does, however
// it is called.
func TestWhatIsUnpackedAreDataAlone(t *testing.T) {
	s := stage(t)
	s.takes(t, "echo content\n"+completed)
	m, err := full.Take(t.Context(), s.options)
	if err != nil {
		t.Fatal(err)
	}
	kept := []string{"binlog.ibd", "ibdata1", "relay.ibd", "stream", "xtrabackup_binlog_info"}
	standin.Program(t, s.programs, "xbstream", `cd "$3"; cat > stream
mkdir xtrabackup_shop; touch xtrabackup_shop/t.ibd `+strings.Join(kept, " ")+`
touch backup-my.cnf xtrabackup_info xtrabackup_logfile binlog.index binlog.000012 relay.000001 relay.index
printf 'binlog.000012\t4\t`+source+`:1-3,\n`+source+`:4:6\n' > xtrabackup_binlog_info
`)
	dir, err := s.unpack(t, m)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(append(kept, "xtrabackup_shop")) {
		t.Errorf("there are %q", got)
	}
	if _, err := full.Adopted(dir, m); err == nil || !strings.Contains(err.Error(), "1-4 at most") {
		t.Errorf("it holds more than it should: %v", err)
	}
	for content, want := range map[string]string{
		"binlog.000012\t4\t" + source + ":1-2,\n" + source + ":3-4\n": "",
		"binlog.000012\t4\t" + source + ":1-3\n":                      "at least",
		"binlog.000012\t4\t\n":                                        "at least",
		"binlog.000012\t4\n":                                          "does not say which transactions",
		"binlog.000012\t4\tnonsense\n":                                "parse GTID set",
	} {
		if err := os.WriteFile(filepath.Join(dir, full.Position), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		set, err := full.Adopted(dir, m)
		if want == "" && (err != nil || set.String() != source+":1-4") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %s, %v, want %q", content, set, err, want)
		}
	}
	if err := os.Remove(filepath.Join(dir, full.Position)); err != nil {
		t.Fatal(err)
	}
	if _, err := full.Adopted(dir, m); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it does not say what it holds: %v", err)
	}
	m.Method = full.MethodClone
	if set, err := full.Adopted(dir, m); err != nil || !set.IsEmpty() {
		t.Errorf("a copy by CLONE: %s, %v", set, err)
	}
}
