package build

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/kapok-operators/kapok/hack/images/internal/archive"
	"github.com/kapok-operators/kapok/hack/images/internal/cache"
	"github.com/kapok-operators/kapok/hack/images/internal/pause"
	"github.com/kapok-operators/kapok/hack/images/internal/tree"
)

// Binary is a static program that goes into an image.
type Binary struct {
	// Source is where it lies on the machine.
	Source string
	// Destination is where it lies in the image.
	Destination string
}

// ParseBinary reads PATH or PATH=/DESTINATION.
func ParseBinary(argument string) (Binary, error) {
	source, destination, given := strings.Cut(argument, "=")
	if !given {
		destination = "/" + filepath.Base(source)
	}
	if source == "" || !path.IsAbs(destination) || path.Clean(destination) != destination || destination == "/" {
		return Binary{}, fmt.Errorf("%q is not of the form PATH or PATH=/DESTINATION", argument)
	}
	return Binary{Source: source, Destination: destination}, nil
}

// Static builds an image that holds static binaries and nothing else but a user file and a folder for temporary files.
func (b *Builder) Static(tag string, binaries []Binary, config archive.Config) (string, error) {
	hashes := make([]string, 0, len(binaries))
	for _, binary := range binaries {
		sum, err := checkStatic(binary.Source)
		if err != nil {
			return "", err
		}
		hashes = append(hashes, binary.Destination+"="+sum)
	}
	name := strings.NewReplacer("/", "_", ":", "_").Replace(tag)
	key, err := cache.Key([]any{format, hashes, config.User})
	if err != nil {
		return "", err
	}
	layer, err := b.cached(name, key, func(w io.Writer) ([]string, error) {
		files, err := tree.New(string(b.cache))
		if err != nil {
			return nil, err
		}
		defer func() { _ = files.Close() }()
		files.Dir("tmp", 0o1777, 0, 0)
		passwd := "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n"
		if err := files.File("etc/passwd", 0o644, 0, 0, strings.NewReader(passwd)); err != nil {
			return nil, err
		}
		if err := files.File("etc/group", 0o644, 0, 0, strings.NewReader("root:x:0:\nnonroot:x:65532:\n")); err != nil {
			return nil, err
		}
		for _, binary := range binaries {
			if err := addBinary(files, binary); err != nil {
				return nil, err
			}
		}
		return nil, files.Write(w)
	})
	if err != nil {
		return "", err
	}
	return b.write(name, tag, []archive.Layer{layer}, config)
}

func addBinary(files *tree.Tree, binary Binary) error {
	file, err := os.Open(binary.Source)
	if err != nil {
		return fmt.Errorf("open a binary: %w", err)
	}
	defer func() { _ = file.Close() }()
	return files.File(binary.Destination, 0o755, 0, 0, file)
}

// checkStatic refuses a binary that would not start in an image without libraries, and returns its hash.
func checkStatic(file string) (string, error) {
	program, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("open a binary: %w", err)
	}
	defer func() { _ = program.Close() }()
	parsed, err := elf.NewFile(program)
	if err != nil {
		return "", fmt.Errorf("%s is not a Linux program: %w", file, err)
	}
	for _, segment := range parsed.Progs {
		if segment.Type == elf.PT_INTERP {
			return "", fmt.Errorf("%s is linked dynamically and cannot run without libraries; build it with CGO_ENABLED=0", file)
		}
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(program, 0, 1<<62)); err != nil {
		return "", fmt.Errorf("hash %s: %w", file, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

func (b *Builder) pauseLayers(ctx context.Context) ([]archive.Layer, error) {
	source, err := pause.Key(ctx)
	if err != nil {
		return nil, err
	}
	key, err := cache.Key([]any{format, source})
	if err != nil {
		return nil, err
	}
	layer, err := b.cached("pause", key, func(w io.Writer) ([]string, error) {
		b.log.Step("compiling pause")
		temp, err := os.MkdirTemp(string(b.cache), ".part-*")
		if err != nil {
			return nil, fmt.Errorf("create a build folder: %w", err)
		}
		defer func() { _ = os.RemoveAll(temp) }()
		binary, err := pause.Compile(ctx, temp)
		if err != nil {
			return nil, err
		}
		files, err := tree.New(temp)
		if err != nil {
			return nil, err
		}
		defer func() { _ = files.Close() }()
		if err := addBinary(files, Binary{Source: binary, Destination: "/pause"}); err != nil {
			return nil, err
		}
		return nil, files.Write(w)
	})
	return []archive.Layer{layer}, err
}
