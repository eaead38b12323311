package errant

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/shared/agent"
)

// Request says what to archive and where.
type Request struct {
	// Root is the folder of all archives, on the same volume as DataDir, mysqld's data folder.
	Root, DataDir string
	// Set are the errant transactions.
	Set gtid.Set
	// Decoder is mysqlbinlog; empty if the image has none. Supervisor runs it.
	Decoder    string
	Supervisor *agent.Supervisor
	// Instance, ServerUUID, Source and Why are for the manifest, At for its name too.
	Instance, ServerUUID, Source, Why string
	At                                time.Time
}

// Result is a finished archive.
type Result struct {
	// Folder is where it is.
	Folder string
	// Missing are the errant transactions that are in no log file.
	Missing gtid.Set
}

// Manifest describes an archive, for people and for tools.
type Manifest struct {
	// Instance and ServerUUID say whose transactions these are, Source for whose data they made room.
	Instance   string `json:"instance"`
	ServerUUID string `json:"serverUUID"`
	Source     string `json:"source"`
	// At is when, Why says why.
	At  time.Time `json:"at"`
	Why string    `json:"why"`
	// GTIDs are the errant transactions; Missing those of them that were in no log file any more.
	GTIDs   string `json:"gtids"`
	Missing string `json:"missing,omitempty"`
	// Files are the log files that were kept as they are: raw/NAME.
	Files []string `json:"files"`
	// Decoded says whether transactions.sql (to apply) and transactions.txt (to read) were made.
	Decoded bool `json:"decoded"`
	// Cut says where the transactions stood, if they were removed from a binary log that is still in use.
	Cut *Cut `json:"cut,omitempty"`
	// Note says what is not there and why.
	Note string `json:"note,omitempty"`
}

// Archive keeps the log files with errant transactions, decodes them, and writes the manifest. It appears under its name
// only when it is whole and on the disk.
func Archive(ctx context.Context, req Request) (Result, error) {
	work, raw, err := begin(req)
	if err != nil {
		return Result{}, err
	}
	files, found, unknown, err := relevant(req)
	if err != nil {
		return Result{}, err
	}
	manifest := describe(req)
	for _, file := range files {
		if err := keep(file, filepath.Join(raw, filepath.Base(file))); err != nil {
			return Result{}, err
		}
		manifest.Files = append(manifest.Files, filepath.Base(file))
	}
	missing := req.Set.Subtract(found)
	if unknown {
		// Tagged transactions are in a kept file, but their names were not read.
		missing = gtid.Set{}
		manifest.Note = "Some of the files hold tagged transactions; whether all of the set is in them was not checked."
	}
	manifest.Missing = missing.String()
	folder, err := complete(ctx, req, work, files, manifest)
	return Result{Folder: folder, Missing: missing}, err
}

// begin makes the folder in which an archive is prepared, and in it the one of the log files. Its name begins with a dot.
func begin(req Request) (work, raw string, err error) {
	name := req.At.UTC().Format("20060102T150405Z") + "-" + strings.ToLower(rand.Text()[:6])
	work = filepath.Join(req.Root, "."+name)
	raw = filepath.Join(work, "raw")
	if err := os.MkdirAll(raw, 0o700); err != nil {
		return "", "", fmt.Errorf("make the archive's folder: %w", err)
	}
	return work, raw, nil
}

// describe begins the manifest.
func describe(req Request) Manifest {
	return Manifest{
		Instance: req.Instance, ServerUUID: req.ServerUUID, Source: req.Source, At: req.At.UTC(), Why: req.Why,
		GTIDs: req.Set.String(), Files: []string{},
	}
}

// complete decodes the log files, writes the manifest and puts the archive in its place.
func complete(ctx context.Context, req Request, work string, files []string, manifest Manifest) (folder string, err error) {
	switch {
	case req.Decoder == "":
		manifest.Note = strings.TrimSpace(manifest.Note + " The image has no mysqlbinlog: only the raw files were kept.")
	case len(files) > 0:
		if err := decode(ctx, req, work, files); err != nil {
			return "", err
		}
		manifest.Decoded = true
	}
	data, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encode the manifest: %w", err)
	}
	if err := agent.WriteFileAtomic(filepath.Join(work, "manifest.json"), append(data, '\n'), 0o600); err != nil {
		return "", fmt.Errorf("write the manifest: %w", err)
	}
	for _, dir := range []string{filepath.Join(work, "raw"), work} {
		if err := syncDir(dir); err != nil {
			return "", err
		}
	}
	folder = filepath.Join(req.Root, strings.TrimPrefix(filepath.Base(work), "."))
	if err := os.Rename(work, folder); err != nil {
		return "", fmt.Errorf("put the archive in its place: %w", err)
	}
	// The folder of all archives may be new itself.
	return folder, errors.Join(syncDir(req.Root), syncDir(filepath.Dir(req.Root)))
}

// relevant returns the log files with errant transactions, oldest first, and which of them they hold.
func relevant(req Request) (files []string, found gtid.Set, unknown bool, err error) {
	for _, pattern := range []string{"binlog.[0-9]*", "relay.[0-9]*"} {
		matches, err := filepath.Glob(filepath.Join(req.DataDir, pattern))
		if err != nil {
			return nil, found, false, fmt.Errorf("list log files: %w", err)
		}
		slices.Sort(matches)
		for _, path := range matches {
			contents, err := Scan(path)
			if err != nil {
				return nil, found, false, fmt.Errorf("scan %s: %w", filepath.Base(path), err)
			}
			here := contents.Set.Intersect(req.Set)
			if here.IsEmpty() && !contents.Unknown {
				continue
			}
			files, found, unknown = append(files, path), found.Union(here), unknown || contents.Unknown
		}
	}
	return files, found, unknown, nil
}

// keep puts a log file into the archive. A link costs neither time nor space and survives the removal of the original;
// nobody writes to these files any more.
func keep(from, to string) error {
	if err := os.Link(from, to); err == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("read log file: %w", err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("keep log file: %w", err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("keep log file: %w", err)
	}
	return nil
}

// decode writes the errant transactions as statements that can be applied, and in words.
func decode(ctx context.Context, req Request, work string, files []string) error {
	for name, args := range map[string][]string{
		"transactions.sql": nil,
		"transactions.txt": {"--base64-output=DECODE-ROWS", "--verbose"},
	} {
		if err := decodeTo(ctx, req, filepath.Join(work, name), append(args, files...)); err != nil {
			return fmt.Errorf("decode errant transactions into %s: %w", name, err)
		}
	}
	return nil
}

func decodeTo(ctx context.Context, req Request, path string, args []string) error {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	process, err := req.Supervisor.Start(agent.Spec{
		Path: req.Decoder, Args: append([]string{"--no-defaults", "--include-gtids=" + req.Set.String()}, args...),
		Stdout: out, Stderr: os.Stderr,
	})
	if err != nil {
		return err
	}
	exit, err := process.Wait(ctx)
	if err != nil {
		return errors.Join(err, process.Kill())
	}
	if exit.Code != 0 {
		return fmt.Errorf("mysqlbinlog %s", exit)
	}
	return out.Sync()
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open the archive's folder to sync it: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync the archive's folder: %w", err)
	}
	return nil
}
