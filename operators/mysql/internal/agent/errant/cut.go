package errant

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Cut says which part of a binary log was archived, to be removed from it.
type Cut struct {
	// File is the log file's name, Position and Size are where the removed part began and the file ended, in bytes.
	File     string `json:"file"`
	Position int64  `json:"position"`
	Size     int64  `json:"size"`
}

// Tail is the part of a binary log that is to be removed from it.
type Tail struct {
	// Path is the log file, Preamble where its first transaction begins.
	Path     string
	Preamble int64
	// Position is where the tail begins, End where its last whole transaction ends, Size where the file ends.
	Position, End, Size int64
}

// tornSuffix names what was never written whole; no tool can decode it.
const tornSuffix = ".torn"

// ArchiveTail keeps the end of a log file before it is cut off. It is copied, because a link would be cut along: the
// events that describe the file, and then the tail, are a log file by themselves.
func ArchiveTail(ctx context.Context, req Request, tail Tail) (folder string, err error) {
	work, raw, err := begin(req)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(work))
		}
	}()
	name := filepath.Base(tail.Path)
	path := filepath.Join(raw, name)
	manifest := describe(req)
	manifest.Files = append(manifest.Files, name)
	manifest.Cut = &Cut{File: name, Position: tail.Position, Size: tail.Size}
	if err := extract(tail.Path, path, [][2]int64{{0, tail.Preamble}, {tail.Position, tail.End}}); err != nil {
		return "", err
	}
	if tail.End < tail.Size {
		manifest.Files = append(manifest.Files, name+tornSuffix)
		manifest.Note = "The last transaction was never written whole; what there is of it is in raw/" + name + tornSuffix + "."
		if err := extract(tail.Path, path+tornSuffix, [][2]int64{{tail.End, tail.Size}}); err != nil {
			return "", err
		}
	}
	contents, err := Scan(path)
	switch {
	case err != nil:
		return "", fmt.Errorf("read the archived tail: %w", err)
	case !contents.Set.Equal(req.Set):
		return "", fmt.Errorf("the archived tail holds %s instead of %s", contents.Set, req.Set)
	}
	return complete(ctx, req, work, []string{path}, manifest)
}

// extract copies parts of a file into a new one, durably.
func extract(from, to string, parts [][2]int64) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("read log file: %w", err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("keep the tail of a log file: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	for _, part := range parts {
		want := part[1] - part[0]
		if n, err := io.Copy(out, io.NewSectionReader(in, part[0], want)); err != nil || n != want {
			return fmt.Errorf("keep the tail of a log file: %d of %d bytes: %w", n, want, errors.Join(err, io.ErrUnexpectedEOF))
		}
	}
	if err := out.Sync(); err != nil {
		return fmt.Errorf("keep the tail of a log file: %w", err)
	}
	return nil
}
