package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestArchiveIsCompleteAndRepeatable(t *testing.T) {
	write := func() []byte {
		layers := []Layer{layer(t, "etc/one", "1"), layer(t, "etc/two", "2")}
		image, err := Image(layers, Config{User: "999:999", Entrypoint: []string{"/tool"}, Env: []string{"PATH=/bin"}})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := Write(&out, "kapok.local/tool:1.0", image); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	first := write()
	if !bytes.Equal(first, write()) {
		t.Error("the same image gave different bytes")
	}

	files := unpack(t, first)
	for name, content := range files {
		if want, isBlob := strings.CutPrefix(name, "blobs/sha256/"); isBlob {
			if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != want {
				t.Errorf("%s does not hold what its name says", name)
			}
		}
	}
	var index v1.IndexManifest
	decode(t, files["index.json"], &index)
	if got := index.Manifests[0].Annotations["io.containerd.image.name"]; got != "kapok.local/tool:1.0" {
		t.Errorf("containerd would call it %q", got)
	}
	var manifest v1.Manifest
	decode(t, files[blob(index.Manifests[0].Digest)], &manifest)
	if len(manifest.Layers) != 2 {
		t.Fatalf("%d layers", len(manifest.Layers))
	}
	var config v1.ConfigFile
	decode(t, files[blob(manifest.Config.Digest)], &config)
	if config.Config.User != "999:999" || config.OS != "linux" || len(config.RootFS.DiffIDs) != 2 {
		t.Errorf("configuration %+v", config)
	}
	var docker []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	decode(t, files["manifest.json"], &docker)
	want := []string{blob(manifest.Layers[0].Digest), blob(manifest.Layers[1].Digest)}
	if diff := cmp.Diff(want, docker[0].Layers); diff != "" {
		t.Error(diff)
	}
	for _, name := range append(want, docker[0].Config) {
		if files[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestWriteRefusesAnIncompleteReference(t *testing.T) {
	image, err := Image([]Layer{layer(t, "x", "")}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(io.Discard, "mysql", image); err == nil {
		t.Error("a name without a tag was taken")
	}
}

func TestCompressDescribesBothForms(t *testing.T) {
	l := layer(t, "etc/file", strings.Repeat("much of the same ", 1000))
	packed, err := os.ReadFile(l.Path)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(packed); l.CompressedDigest.Hex != hex.EncodeToString(sum[:]) || l.Bytes != int64(len(packed)) {
		t.Error("the compressed form is described wrongly")
	}
	reader, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(reader)
	if err := errors.Join(err, reader.Close()); err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(plain); l.PlainDigest.Hex != hex.EncodeToString(sum[:]) || l.PlainBytes != int64(len(plain)) {
		t.Error("the plain form is described wrongly")
	}
}

func TestExtractLaysLayersOnOneAnother(t *testing.T) {
	dir := t.TempDir()
	for _, l := range []Layer{layer(t, "etc/passwd", "base"), layer(t, "etc/passwd", "mysql")} {
		if err := Extract(l, dir); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(dir, "etc/passwd")); err != nil || string(got) != "mysql" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestExtractStaysInItsFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "root")
	if err := Extract(layer(t, "../outside", "x"), dir); err == nil {
		t.Error("a path out of the folder was followed")
	}
}

func layer(t *testing.T, name, content string) Layer {
	t.Helper()
	l, err := Compress(filepath.Join(t.TempDir(), "layer"), func(w io.Writer) error {
		writer := tar.NewWriter(w)
		var errs []error
		if dir := filepath.Dir(name); dir != "." && dir != ".." {
			errs = append(errs, writer.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}))
		}
		errs = append(errs, writer.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}))
		_, err := io.WriteString(writer, content)
		return errors.Join(append(errs, err, writer.Close())...)
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func unpack(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	reader := tar.NewReader(bytes.NewReader(data))
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(reader); err != nil {
			t.Fatal(err)
		}
	}
}

func decode(t *testing.T, data []byte, value any) {
	t.Helper()
	if err := json.Unmarshal(data, value); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
}
