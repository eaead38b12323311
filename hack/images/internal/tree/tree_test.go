package tree

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFilterKeeps(t *testing.T) {
	filter := Filter{Drop: []string{"usr/share/doc/", "usr/bin/my*check"}, Keep: []string{"usr/share/doc/*/copyright"}}
	tests := map[string]bool{
		"usr/share/doc":               false,
		"usr/share/doc/x":             false,
		"usr/share/doc/x/changelog":   false,
		"usr/share/doc/x/copyright":   true,
		"usr/share/documents/x":       true,
		"usr/bin/mysqlcheck":          false,
		"usr/bin/mysql":               true,
		"usr/share/doc/x/y/copyright": false,
	}
	for name, want := range tests {
		if got := filter.Keeps(name); got != want {
			t.Errorf("%s: kept %v, want %v", name, got, want)
		}
	}
}

func TestCleanMergesUsr(t *testing.T) {
	tests := map[string]string{
		"./usr/bin/": "usr/bin", "./bin/sh": "usr/bin/sh", "/lib64/ld.so": "usr/lib64/ld.so", "bin": "bin", "./": "", "../../etc/x": "etc/x", "library/x": "library/x",
	}
	for name, want := range tests {
		if got := Clean(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestWriteIsTheSameInWhateverOrderFilesCame(t *testing.T) {
	files := []string{"usr/bin/b", "usr/bin/a", "etc/z", "usr/lib/c"}
	build := func(names []string) []byte {
		tree := newTree(t)
		for _, name := range names {
			if err := tree.File(name, 0o755, 0, 0, strings.NewReader("content of "+name)); err != nil {
				t.Fatal(err)
			}
		}
		tree.Link("bin", "usr/bin")
		tree.Dir("tmp", 0o1777, 0, 0)
		return written(t, tree)
	}
	forward := build(files)
	backward := build([]string{files[3], files[2], files[1], files[0]})
	if !bytes.Equal(forward, backward) {
		t.Error("the order of arrival shows in the layer")
	}
	var names []string
	for _, header := range headers(t, forward) {
		names = append(names, header.Name)
		if !header.ModTime.Equal(time.Unix(Epoch, 0)) {
			t.Errorf("%s carries the time %v", header.Name, header.ModTime)
		}
	}
	want := []string{"bin", "etc/", "etc/z", "tmp/", "usr/", "usr/bin/", "usr/bin/a", "usr/bin/b", "usr/lib/", "usr/lib/c"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

func TestAddTarTakesWhatAPackageMayHold(t *testing.T) {
	var source bytes.Buffer
	w := tar.NewWriter(&source)
	add := func(header tar.Header, content string) {
		header.Size = int64(len(content))
		header.ModTime = time.Now()
		if err := w.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	add(tar.Header{Typeflag: tar.TypeDir, Name: "./bin/", Mode: 0o755}, "")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "./bin/tool", Mode: 0o4755, Uid: 3, Gid: 4}, "tool")
	add(tar.Header{Typeflag: tar.TypeLink, Name: "./bin/alias", Linkname: "./bin/tool"}, "")
	add(tar.Header{Typeflag: tar.TypeSymlink, Name: "./lib/l.so", Linkname: "l.so.1"}, "")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "./usr/share/doc/tool/README", Mode: 0o644}, "dropped")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}

	tree := newTree(t)
	if err := tree.AddTar(&source, Filter{Drop: []string{"usr/share/doc/"}}); err != nil {
		t.Fatal(err)
	}
	got := map[string]tar.Header{}
	for _, header := range headers(t, written(t, tree)) {
		got[header.Name] = header
	}
	if len(got) != 6 {
		t.Errorf("unexpected entries: %v", got)
	}
	for _, name := range []string{"usr/bin/tool", "usr/bin/alias"} {
		if h := got[name]; h.Mode != 0o4755 || h.Uid != 3 || h.Gid != 4 || h.Size != 4 || h.Typeflag != tar.TypeReg {
			t.Errorf("%s: %+v", name, h)
		}
	}
	if got["usr/lib/l.so"].Linkname != "l.so.1" {
		t.Error("the symbolic link is lost")
	}
	reader, err := tree.Open("usr/bin/alias")
	if err != nil {
		t.Fatal(err)
	}
	if content, err := io.ReadAll(reader); err != nil || string(content) != "tool" {
		t.Errorf("content %q, %v", content, err)
	}
}

func TestAddTarRefusesDevices(t *testing.T) {
	var source bytes.Buffer
	w := tar.NewWriter(&source)
	if err := errors.Join(w.WriteHeader(&tar.Header{Typeflag: tar.TypeChar, Name: "dev/null"}), w.Close()); err != nil {
		t.Fatal(err)
	}
	if err := newTree(t).AddTar(&source, Filter{}); err == nil {
		t.Error("a device was accepted")
	}
}

func newTree(t *testing.T) *Tree {
	t.Helper()
	tree, err := New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	})
	return tree
}

func written(t *testing.T, tree *Tree) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := tree.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func headers(t *testing.T, data []byte) []tar.Header {
	t.Helper()
	var all []tar.Header
	reader := tar.NewReader(bytes.NewReader(data))
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, *header)
	}
}
