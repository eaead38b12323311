package link

import (
	"bytes"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func kept(t *testing.T, c *clock, folder, replica string) *Authority {
	t.Helper()
	a, err := NewAuthority(AuthorityOptions{Replica: replica, Folder: folder, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestARestartedReplicaIsTrustedAtOnce: agents that know a replica's authority go on trusting it when its container
// restarts, even if nobody can be reached to publish a new one.
func TestARestartedReplicaIsTrustedAtOnce(t *testing.T) {
	var c clock
	folder := t.TempDir()
	before := caPEM(t, kept(t, &c, folder, "op-0"))
	c.advance(time.Hour)
	again := kept(t, &c, folder, "op-0")
	if after := caPEM(t, again); !bytes.Equal(before, after) {
		t.Error("the authority is another one after a restart")
	}
	if err := verifies(served(t, again), before, c.now()); err != nil {
		t.Errorf("who trusted the replica before does not trust it now: %v", err)
	}
	info, err := os.Stat(filepath.Join(folder, authorityFile))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the key may be read as %v", info.Mode())
	}
}

// TestARestartKeepsBothAuthorities: a restart between the publication of the next authority and its use must not make
// that wait begin anew.
func TestARestartKeepsBothAuthorities(t *testing.T) {
	var c clock
	folder := t.TempDir()
	a := kept(t, &c, folder, "op-0")
	first := caPEM(t, a)
	c.advance(DefaultCALifetime*2/3 + time.Minute)
	both := caPEM(t, a)
	c.advance(overlap - time.Minute)
	again := kept(t, &c, folder, "op-0")
	if after := caPEM(t, again); !bytes.Equal(both, after) {
		t.Error("the authorities are others after a restart")
	}
	if err := verifies(served(t, again), first, c.now()); err != nil {
		t.Errorf("the new authority signs too early: %v", err)
	}
	c.advance(2 * time.Minute)
	if err := verifies(served(t, again), first, c.now()); err == nil {
		t.Error("the new authority never signs")
	}
}

// TestWhatWasKeptIsNotTakenOnTrust: anything odd leads to a new authority, as without a folder.
func TestWhatWasKeptIsNotTakenOnTrust(t *testing.T) {
	for name, bend := range map[string]func(t *testing.T, c *clock, path string) (replica string){
		"another replica's": func(*testing.T, *clock, string) string { return "op-1" },
		"expired": func(_ *testing.T, c *clock, _ string) string {
			c.advance(DefaultCALifetime)
			return "op-0"
		},
		"torn": func(t *testing.T, _ *clock, path string) string {
			raw := read(t, path)
			write(t, path, raw[:len(raw)/2])
			return "op-0"
		},
		"not PEM": func(t *testing.T, _ *clock, path string) string {
			write(t, path, []byte("hello"))
			return "op-0"
		},
		"a certificate with another's key": func(t *testing.T, c *clock, path string) string {
			certificate, _ := pem.Decode(read(t, path))
			other := t.TempDir()
			kept(t, c, other, "op-0")
			_, rest := pem.Decode(read(t, filepath.Join(other, authorityFile)))
			write(t, path, append(pem.EncodeToMemory(certificate), rest...))
			return "op-0"
		},
	} {
		t.Run(name, func(t *testing.T) {
			var c clock
			folder := t.TempDir()
			before := caPEM(t, kept(t, &c, folder, "op-0"))
			again := kept(t, &c, folder, bend(t, &c, filepath.Join(folder, authorityFile)))
			after := caPEM(t, again)
			if bytes.Equal(before, after) || len(ParseBundle(after)) != 1 {
				t.Errorf("%d authorities after a restart, the old one among them: %t", len(ParseBundle(after)), bytes.Equal(before, after))
			}
			if err := verifies(served(t, again), after, c.now()); err != nil {
				t.Errorf("the new authority serves nothing: %v", err)
			}
		})
	}
}

// TestAFolderThatCannotBeWrittenIsSaid: at the start, where somebody can mend it.
func TestAFolderThatCannotBeWrittenIsSaid(t *testing.T) {
	if _, err := NewAuthority(AuthorityOptions{Replica: "op-0", Folder: filepath.Join(t.TempDir(), "missing")}); err == nil {
		t.Error("an authority that cannot be kept was made without a word")
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
