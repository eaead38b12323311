// Package tree merges the files of packages into one file tree and writes it as a layer. The same input gives the same
// bytes: entries are sorted, times are fixed, and nothing of the building machine enters.
package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// Epoch is the modification time of every file in a layer.
const Epoch = 1767225600 // 2026-01-01T00:00:00Z

// entry is one file; the content of a regular file lies in the spool.
type entry struct {
	header tar.Header
	offset int64
}

// Tree collects files. It must be closed.
type Tree struct {
	entries map[string]entry
	spool   *os.File
	end     int64
}

// New makes an empty tree that keeps contents in a temporary file in dir.
func New(dir string) (*Tree, error) {
	spool, err := os.CreateTemp(dir, ".spool-*")
	if err != nil {
		return nil, fmt.Errorf("create a spool file: %w", err)
	}
	// The name goes at once, so that even a killed process leaves nothing behind.
	if err := os.Remove(spool.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("unlink the spool file: %w", err), spool.Close())
	}
	return &Tree{entries: map[string]entry{}, spool: spool}, nil
}

// Close frees the spool.
func (t *Tree) Close() error {
	return t.spool.Close()
}

// Filter says which of a package's files are kept. Patterns are folder prefixes ending in "/" or path.Match patterns.
type Filter struct {
	// Drop lists what is left out.
	Drop []string `json:"drop,omitempty"`
	// Keep lists exceptions to Drop.
	Keep []string `json:"keep,omitempty"`
}

// Keeps tells whether the file at the path, relative to the root, passes.
func (f Filter) Keeps(name string) bool {
	return matches(f.Keep, name) || !matches(f.Drop, name)
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if strings.HasSuffix(pattern, "/") {
			return strings.HasPrefix(name+"/", pattern)
		}
		matched, err := path.Match(pattern, name)
		return err == nil && matched
	})
}

// AddTar merges a tar archive. Folders are kept only if a kept file needs them or the filter lets them pass.
func (t *Tree) AddTar(r io.Reader, filter Filter) error {
	reader := tar.NewReader(r)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		name := Clean(header.Name)
		if name == "" || !filter.Keeps(name) {
			continue
		}
		if err := t.add(name, header, reader); err != nil {
			return fmt.Errorf("add %s: %w", name, err)
		}
	}
}

func (t *Tree) add(name string, header *tar.Header, content io.Reader) error {
	switch header.Typeflag {
	case tar.TypeDir:
		// A folder in the place of a link to /usr would hide everything below /usr.
		if slices.Contains(merged(), name) {
			name = "usr/" + name
		}
		t.put(name, tar.Header{Typeflag: tar.TypeDir, Mode: header.Mode, Uid: header.Uid, Gid: header.Gid}, 0)
	case tar.TypeSymlink:
		t.put(name, tar.Header{Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: header.Linkname}, 0)
	case tar.TypeLink:
		target, found := t.entries[Clean(header.Linkname)]
		if !found {
			return fmt.Errorf("hard link to %s, which was left out", header.Linkname)
		}
		t.entries[name] = target
	case tar.TypeReg:
		return t.File(name, header.Mode, header.Uid, header.Gid, content)
	default:
		return fmt.Errorf("file type %q has no place in an image", header.Typeflag)
	}
	return nil
}

// File adds or replaces a regular file.
func (t *Tree) File(name string, mode int64, uid, gid int, content io.Reader) error {
	written, err := io.Copy(io.NewOffsetWriter(t.spool, t.end), content)
	if err != nil {
		return fmt.Errorf("spool %s: %w", name, err)
	}
	t.put(Clean(name), tar.Header{Typeflag: tar.TypeReg, Mode: mode, Uid: uid, Gid: gid, Size: written}, t.end)
	t.end += written
	return nil
}

// Dir adds or replaces a folder.
func (t *Tree) Dir(name string, mode int64, uid, gid int) {
	t.put(Clean(name), tar.Header{Typeflag: tar.TypeDir, Mode: mode, Uid: uid, Gid: gid}, 0)
}

// Link adds or replaces a symbolic link.
func (t *Tree) Link(name, target string) {
	t.put(Clean(name), tar.Header{Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: target}, 0)
}

func (t *Tree) put(name string, header tar.Header, offset int64) {
	header.Name = name
	t.entries[name] = entry{header: header, offset: offset}
}

// Files lists the paths of all regular files, sorted.
func (t *Tree) Files() []string { return t.ofType(tar.TypeReg) }

// Links lists the paths of all symbolic links, sorted.
func (t *Tree) Links() []string { return t.ofType(tar.TypeSymlink) }

func (t *Tree) ofType(kind byte) []string {
	var names []string
	for name, e := range t.entries {
		if e.header.Typeflag == kind {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Open reads a regular file of the tree.
func (t *Tree) Open(name string) (*io.SectionReader, error) {
	e, found := t.entries[Clean(name)]
	if !found || e.header.Typeflag != tar.TypeReg {
		return nil, fmt.Errorf("no regular file %s in the tree", name)
	}
	return io.NewSectionReader(t.spool, e.offset, e.header.Size), nil
}

// Write emits the tree as a tar archive. Missing parent folders are added, so that every unpacker agrees on their modes.
func (t *Tree) Write(w io.Writer) error {
	for name := range maps.Clone(t.entries) {
		for parent := path.Dir(name); parent != "."; parent = path.Dir(parent) {
			if _, found := t.entries[parent]; !found {
				t.Dir(parent, 0o755, 0, 0)
			}
		}
	}
	writer := tar.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(t.entries)) {
		e := t.entries[name]
		header := e.header
		header.Name = name
		if header.Typeflag == tar.TypeDir {
			header.Name += "/"
		}
		header.ModTime = time.Unix(Epoch, 0)
		header.Format = tar.FormatPAX
		if err := writer.WriteHeader(&header); err != nil {
			return fmt.Errorf("write the header of %s: %w", name, err)
		}
		if header.Typeflag == tar.TypeReg {
			if _, err := io.Copy(writer, io.NewSectionReader(t.spool, e.offset, header.Size)); err != nil {
				return fmt.Errorf("write %s: %w", name, err)
			}
		}
	}
	if err := writer.Close(); err != nil {
		return fmt.Errorf("finish the archive: %w", err)
	}
	return nil
}

// merged names the folders that are links to their namesakes below /usr.
func merged() []string { return []string{"bin", "sbin", "lib", "lib64"} }

// Clean turns an archive's path into one relative to the root, and moves files of pre-merge packages below /usr.
func Clean(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	for _, dir := range merged() {
		if strings.HasPrefix(name, dir+"/") {
			return "usr/" + name
		}
	}
	return name
}
