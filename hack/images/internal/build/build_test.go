package build

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/hack/images/internal/archive"
	"github.com/kapok-operators/kapok/hack/images/internal/cache"
	"github.com/kapok-operators/kapok/hack/images/internal/debian"
	"github.com/kapok-operators/kapok/hack/images/internal/progress"
	"github.com/kapok-operators/kapok/hack/images/internal/recipe"
	"github.com/kapok-operators/kapok/hack/images/internal/tree"
)

func TestLayerIsAssembledFromPackagesAndFoundAgain(t *testing.T) {
	dir := cache.Dir(t.TempDir())
	pkg := makePackage(t, dir, "tool", map[string]string{
		"usr/bin/tool": "#!/bin/sh\n", "usr/share/doc/tool/README": "long", "usr/share/doc/tool/copyright": "licence",
		"usr/share/ca-certificates/mozilla/B.crt": "B\n", "usr/share/ca-certificates/mozilla/A.crt": "A\n",
	})
	layer := recipe.Layer{
		Name: "test", Suite: "sid",
		Filter:       tree.Filter{Drop: []string{"usr/share/doc/"}, Keep: []string{"usr/share/doc/*/copyright"}},
		Dirs:         []recipe.Dir{{Path: "var/lib/mysql", Mode: 0o750, UID: 999, GID: 999}},
		Files:        []recipe.File{{Path: "etc/passwd", Mode: 0o644, Content: "root:x:0:0::/:/bin/sh\n"}},
		Links:        map[string]string{"bin": "usr/bin"},
		Certificates: true,
	}
	var said bytes.Buffer
	builder := New(dir, progress.Start(&said))
	first, err := builder.layer(t.Context(), layer, []debian.Package{pkg}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := contents(t, first)
	want := map[string]string{
		"usr/bin/tool": "#!/bin/sh\n", "usr/share/doc/tool/copyright": "licence", "etc/passwd": "root:x:0:0::/:/bin/sh\n",
		"etc/ssl/certs/ca-certificates.crt":       "A\nB\n",
		"usr/share/ca-certificates/mozilla/B.crt": "B\n", "usr/share/ca-certificates/mozilla/A.crt": "A\n",
		"bin": "-> usr/bin",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	// Without the package's file only the cache can answer.
	if err := os.Remove(debian.NewSuite("sid", dir, nil).File(pkg)); err != nil {
		t.Fatal(err)
	}
	said.Reset()
	again, err := builder.layer(t.Context(), layer, []debian.Package{pkg}, nil)
	if err != nil || said.Len() > 0 || again.CompressedDigest != first.CompressedDigest {
		t.Errorf("not taken from the cache: %v %s", err, said.String())
	}
}

func TestADamagedLayerIsBuiltAgain(t *testing.T) {
	dir := cache.Dir(t.TempDir())
	pkg := makePackage(t, dir, "tool", map[string]string{"usr/bin/tool": "tool"})
	builder := New(dir, progress.Start(io.Discard))
	first, err := builder.layer(t.Context(), recipe.Layer{Name: "test", Suite: "sid"}, []debian.Package{pkg}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(first.Path, 3); err != nil {
		t.Fatal(err)
	}
	again, err := builder.layer(t.Context(), recipe.Layer{Name: "test", Suite: "sid"}, []debian.Package{pkg}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"usr/bin/tool": "tool"}, contents(t, again)); diff != "" {
		t.Error(diff)
	}
}

func TestStaticTakesOnlyStaticPrograms(t *testing.T) {
	dir := t.TempDir()
	builder := New(cache.Dir(dir), progress.Start(io.Discard))
	static, dynamic, script := filepath.Join(dir, "static"), filepath.Join(dir, "dynamic"), filepath.Join(dir, "script")
	for path, data := range map[string][]byte{static: program(false), dynamic: program(true), script: []byte("#!/bin/sh\n")} {
		if err := os.WriteFile(path, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	config := archive.Config{User: "65532:65532", Entrypoint: []string{"/static"}}
	one, err := builder.Static("kapok.local/tool:dev", []Binary{{Source: static, Destination: "/static"}}, config)
	if err != nil {
		t.Fatal(err)
	}
	two, err := builder.Static("kapok.local/tool:dev", []Binary{{Source: static, Destination: "/static"}}, config)
	if err != nil || one != two {
		t.Errorf("built twice: %s and %s, %v", one, two, err)
	}
	other, err := builder.Static("kapok.local/tool:dev", []Binary{{Source: static, Destination: "/elsewhere"}}, config)
	if err != nil || other == one {
		t.Errorf("another destination gave the same image: %v", err)
	}
	for name, source := range map[string]string{"dynamic": dynamic, "script": script, "absent": filepath.Join(dir, "absent")} {
		if _, err := builder.Static("kapok.local/tool:dev", []Binary{{Source: source, Destination: "/x"}}, config); err == nil {
			t.Errorf("a %s program was taken", name)
		}
	}
}

func TestParseBinary(t *testing.T) {
	tests := map[string]struct {
		want    Binary
		wantErr bool
	}{
		"bin/agent":            {want: Binary{Source: "bin/agent", Destination: "/agent"}},
		"bin/agent=/usr/agent": {want: Binary{Source: "bin/agent", Destination: "/usr/agent"}},
		"bin/agent=agent":      {wantErr: true},
		"bin/agent=/a/../b":    {wantErr: true},
		"bin/agent=/":          {wantErr: true},
		"=/agent":              {wantErr: true},
		"":                     {wantErr: true},
	}
	for argument, test := range tests {
		got, err := ParseBinary(argument)
		if (err != nil) != test.wantErr || got != test.want {
			t.Errorf("%q: %v, %v", argument, got, err)
		}
	}
}

func TestPlaceReplacesTheTarget(t *testing.T) {
	dir := t.TempDir()
	source, target := filepath.Join(dir, "cache.tar"), filepath.Join(dir, "out", "image.tar")
	for _, text := range []string{"one", "two"} {
		if err := errors.Join(os.RemoveAll(source), os.WriteFile(source, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := Place(source, target); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(target); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(target)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestCheckLibrariesNamesWhatIsMissing(t *testing.T) {
	self, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	files, err := tree.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = files.Close() }()
	if err := files.File("usr/bin/sh", 0o755, 0, 0, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if _, err := checkLibraries(files, nil); err == nil || !strings.Contains(err.Error(), "usr/bin/sh needs libc.so") {
		t.Errorf("error %v", err)
	}
	if _, err := checkLibraries(files, []string{"libc.so.6"}); err != nil {
		t.Error(err)
	}
	files.Link("usr/lib/libc.so.6", "libc.so.6.1")
	provided, err := checkLibraries(files, nil)
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"libc.so.6"}, provided); diff != "" {
		t.Error(diff)
	}
}

// makePackage builds a real Debian package and puts it where a download would have put it.
func makePackage(t *testing.T, dir cache.Dir, name string, files map[string]string) debian.Package {
	t.Helper()
	root := t.TempDir()
	files["DEBIAN/control"] = "Package: " + name + "\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: test\n"
	for file, text := range files {
		path := filepath.Join(root, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	deb := filepath.Join(t.TempDir(), "x.deb")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "-Zgzip", "--root-owner-group", "--build", root, deb).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(deb)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	pkg := debian.Package{Name: name, Version: "1", Arch: "all", Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
	path := debian.NewSuite("sid", dir, nil).File(pkg)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
		t.Fatal(err)
	}
	return pkg
}

// contents maps each file of a layer to its content and each link to its target.
func contents(t *testing.T, layer archive.Layer) map[string]string {
	t.Helper()
	plain, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = plain.Close() }()
	files := map[string]string{}
	reader := tar.NewReader(plain)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		switch header.Typeflag {
		case tar.TypeSymlink:
			files[header.Name] = "-> " + header.Linkname
		case tar.TypeReg:
			data, err := io.ReadAll(reader)
			if err != nil {
				t.Fatal(err)
			}
			files[header.Name] = string(data)
		}
	}
}

// program makes the smallest file that reads as a Linux program, with or without a request for a dynamic loader.
func program(dynamic bool) []byte {
	header := make([]byte, 64+56)
	copy(header, "\x7fELF\x02\x01\x01")
	order := binary.LittleEndian
	order.PutUint16(header[16:], 2)  // executable
	order.PutUint16(header[18:], 62) // amd64
	order.PutUint32(header[20:], 1)  // version
	order.PutUint64(header[32:], 64) // program headers follow
	order.PutUint16(header[52:], 64)
	order.PutUint16(header[54:], 56)
	order.PutUint16(header[56:], 1)
	order.PutUint32(header[64:], 1) // PT_LOAD
	if dynamic {
		order.PutUint32(header[64:], 3) // PT_INTERP
	}
	return header
}
