package errant

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/shared/agent"
)

const server = "3e11fa47-71ca-11e1-9e33-c80aa9429562"

// event builds an event of a log file.
func event(kind byte, body []byte) []byte {
	out := make([]byte, headerSize, headerSize+len(body))
	out[4] = kind
	binary.LittleEndian.PutUint32(out[9:13], uint32(headerSize+len(body)))
	return append(out, body...)
}

// gtidEvent builds the event that begins a transaction.
func gtidEvent(t *testing.T, number uint64) []byte {
	t.Helper()
	id, err := hex.DecodeString(strings.ReplaceAll(server, "-", ""))
	if err != nil {
		t.Fatal(err)
	}
	body := append([]byte{0}, id...)
	body = binary.LittleEndian.AppendUint64(body, number)
	return event(typeGTID, append(body, make([]byte, 30)...))
}

func logFile(t *testing.T, numbers ...uint64) []byte {
	t.Helper()
	out := append([]byte(magic), event(15, make([]byte, 90))...)
	for _, n := range numbers {
		out = append(out, gtidEvent(t, n)...)
		out = append(out, event(2, bytes.Repeat([]byte("x"), 300))...)
	}
	return out
}

func TestScanNamesTheTransactions(t *testing.T) {
	c, err := scan(bytes.NewReader(logFile(t, 4, 5, 6, 9)))
	if err != nil || c.Set.String() != server+":4-6:9" || c.Unknown {
		t.Errorf("%v, %+v, %v", c.Set, c.Unknown, err)
	}
}

func TestScanReadsATornFileUpToTheTear(t *testing.T) {
	whole := logFile(t, 1, 2)
	for cut := len(whole) - 320; cut < len(whole); cut += 7 {
		c, err := scan(bytes.NewReader(whole[:cut]))
		if err != nil || !c.Set.Contains(parse(t, server+":1")) {
			t.Fatalf("cut at %d: %v, %v", cut, c.Set, err)
		}
	}
}

func TestScanTellsWhatItCannotRead(t *testing.T) {
	c, err := scan(bytes.NewReader(append(logFile(t, 1), event(typeTaggedGTID, make([]byte, 60))...)))
	if err != nil || !c.Unknown {
		t.Errorf("a tagged transaction went unnoticed: %+v, %v", c, err)
	}
	if _, err := scan(bytes.NewReader([]byte("\xfdbin and the rest is encrypted"))); err == nil {
		t.Error("an encrypted file was read")
	}
}

func FuzzScan(f *testing.F) {
	f.Add([]byte(magic))
	f.Add(append([]byte(magic), event(typeGTID, make([]byte, 25))...))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = scan(bytes.NewReader(data))
	})
}

func parse(t *testing.T, text string) gtid.Set {
	t.Helper()
	s, err := gtid.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestI6ArchiveKeepsWhatTheDataFolderLoses(t *testing.T) {
	data, root := t.TempDir(), filepath.Join(t.TempDir(), "archive")
	for name, content := range map[string][]byte{
		"binlog.000001": logFile(t, 1, 2), "binlog.000002": logFile(t, 3, 4), "relay.000001": logFile(t, 7), "binlog.index": []byte("x"),
	} {
		if err := os.WriteFile(filepath.Join(data, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	result, err := Archive(t.Context(), Request{
		Root: root, DataDir: data, Set: parse(t, server+":4:7:9"), Supervisor: &agent.Supervisor{},
		Instance: "shop-0", ServerUUID: server, Why: "test", At: time.Unix(0, 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := result.Missing.String(); got != server+":9" {
		t.Errorf("missing %q", got)
	}
	for _, name := range []string{"binlog.000002", "relay.000001"} {
		if err := os.Remove(filepath.Join(data, name)); err != nil {
			t.Fatal(err)
		}
		c, err := Scan(filepath.Join(result.Folder, "raw", name))
		if err != nil || c.Set.IsEmpty() {
			t.Errorf("%s is not kept: %v, %v", name, c.Set, err)
		}
	}
	if _, err := os.Stat(filepath.Join(result.Folder, "raw", "binlog.000001")); err == nil {
		t.Error("a file without errant transactions was kept")
	}
	manifest, err := os.ReadFile(filepath.Join(result.Folder, "manifest.json"))
	if err != nil || !strings.Contains(string(manifest), "no mysqlbinlog") || !strings.Contains(string(manifest), server+":9") {
		t.Errorf("manifest %s, %v", manifest, err)
	}
	left, err := filepath.Glob(filepath.Join(root, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("unfinished archives are left: %v, %v", left, err)
	}
}
