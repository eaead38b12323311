package debian

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/kapok-operators/kapok/hack/images/internal/cache"
	"github.com/kapok-operators/kapok/hack/images/internal/progress"
)

func TestAdoptKeepsOnlyWhatHasTheAnnouncedHash(t *testing.T) {
	dir := cache.Dir(t.TempDir())
	suite := NewSuite("sid", dir, progress.Start(io.Discard))
	temp := filepath.Join(string(dir), "debs", "temp")
	write(t, filepath.Join(temp, "good_1_all.deb"), "good")
	write(t, filepath.Join(temp, "bad_1_all.deb"), "tampered")
	hash := sha256.Sum256([]byte("good"))
	good := Package{Name: "good", Version: "1", SHA256: hex.EncodeToString(hash[:])}
	bad := Package{Name: "bad", Version: "1", SHA256: sum}

	if err := suite.adopt(temp, []Package{good, bad}); err == nil {
		t.Fatal("a tampered package was accepted")
	}
	if !cache.Exists(suite.File(good)) || cache.Exists(suite.File(bad)) {
		t.Error("the good package should be kept and the bad one should not")
	}
}

func TestMachineSourcesReadsBothFormats(t *testing.T) {
	etc := t.TempDir()
	write(t, filepath.Join(etc, "sources.list"), "deb http://one.example/debian bookworm main\n")
	write(t, filepath.Join(etc, "sources.list.d", "two.sources"), "Types: deb\nURIs: http://two.example/debian\nSuites: sid\nComponents: main\n")
	write(t, filepath.Join(etc, "sources.list.d", "three.list"), "deb http://three.example/debian trixie main\n")
	write(t, filepath.Join(etc, "sources.list.d", "ignored.bak"), "deb http://four.example/debian trixie main\n")
	entries, err := machineSources(etc)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.URIs[0])
	}
	want := []string{"http://one.example/debian", "http://two.example/debian", "http://three.example/debian"}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("got %v, want %v", got, want)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
