// Package artifact makes what a cluster runs and what is costly to make: the Kubernetes and DNS programs, built from
// their Go modules; the pause image; and the root of a box, made of Debian packages. Each is kept in the cache under a
// hash of what it is made from, and appears there whole or not at all.
package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/progress"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/store"
)

// Set is everything that a cluster runs.
type Set struct {
	// Kube is the folder with kube-apiserver, kubelet and so on, all links to one program.
	Kube string `json:"kube"`
	// DNS is the folder with coredns.
	DNS string `json:"dns"`
	// PauseTar is the archive of the pause image.
	PauseTar string `json:"pauseTar"`
	// RootFS is the folder with the files of the Debian packages.
	RootFS string `json:"rootfs"`
}

// Maker makes artefacts.
type Maker struct {
	cache, source string
	out           *progress.Printer
}

// lockTimeout bounds the wait for another process that makes the same artefact: a cold build on a slow machine.
const lockTimeout = 45 * time.Minute

// NewMaker returns a maker that keeps artefacts in the cache folder and builds from the source folder, which is the one
// that holds this module.
func NewMaker(cache, source string, out *progress.Printer) *Maker {
	return &Maker{cache: filepath.Join(cache, "localcluster"), source: source, out: out}
}

// All makes everything. The packages are fetched while the programs are built: one waits for the network, the other
// for the processors.
func (m *Maker) All(ctx context.Context) (Set, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var set Set
	var fetching sync.WaitGroup
	// What fails first ends the other, and is what went wrong.
	fetching.Go(func() {
		var err error
		if set.RootFS, err = m.RootFS(ctx); err != nil {
			cancel(err)
		}
	})
	if err := m.programs(ctx, &set); err != nil {
		cancel(err)
	}
	fetching.Wait()
	return set, context.Cause(ctx)
}

func (m *Maker) programs(ctx context.Context, set *Set) error {
	var err error
	if set.PauseTar, err = m.Pause(ctx); err != nil {
		return err
	}
	if set.DNS, err = m.DNS(ctx); err != nil {
		return err
	}
	set.Kube, err = m.Kube(ctx)
	return err
}

// ensure returns the folder of the artefact of that name and key; build fills it when it is not there.
func (m *Maker) ensure(ctx context.Context, name, key string, build func(ctx context.Context, dir string) error) (string, error) {
	final := filepath.Join(m.cache, name+"-"+key)
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	lock, err := m.wait(ctx, name)
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Release() }()
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	// Only the holder of the lock makes these, so one that is here was left by a build that was killed.
	left, err := filepath.Glob(filepath.Join(m.cache, name+".tmp-*"))
	if err != nil {
		return "", fmt.Errorf("look for what a killed build left: %w", err)
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return "", fmt.Errorf("remove what a killed build left: %w", err)
		}
	}
	tmp, err := os.MkdirTemp(m.cache, name+".tmp-")
	if err != nil {
		return "", fmt.Errorf("make folder for %s: %w", name, err)
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", fmt.Errorf("make folder for %s: %w", name, err)
	}
	begun := time.Now()
	if err := build(ctx, tmp); err != nil {
		return "", errors.Join(fmt.Errorf("make %s: %w", name, err), os.RemoveAll(tmp))
	}
	if err := os.Rename(tmp, final); err != nil {
		return "", fmt.Errorf("put %s into the cache: %w", name, err)
	}
	m.out.Line("%s made and cached (%.1fs)", name, time.Since(begun).Seconds())
	return final, nil
}

// wait takes the lock of the artefact, telling the user when another process is making it.
func (m *Maker) wait(ctx context.Context, name string) (*store.Lock, error) {
	path := filepath.Join(m.cache, name+".lock")
	lock, err := store.TryLock(path)
	for told, deadline := false, time.Now().Add(lockTimeout); errors.Is(err, store.ErrLocked); lock, err = store.TryLock(path) {
		if !told {
			m.out.Line("%s: another process is making it; waiting", name)
			told = true
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("wait for the process that makes %s: not done after %s", name, lockTimeout)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	return lock, err
}

// hash returns a short hash of the parts.
func hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s\n", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// hashFiles returns a short hash of the platform, the parts and the content of the files.
func hashFiles(dir string, files []string, parts ...string) (string, error) {
	all := append([]string{runtime.GOOS, runtime.GOARCH}, parts...)
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			return "", fmt.Errorf("hash sources: %w", err)
		}
		all = append(all, f, string(data))
	}
	return hash(all...), nil
}

// FindSource finds the folder of this module's sources: $KAPOK_LOCALCLUSTER_SOURCE, or hack/localcluster in the working
// folder, in the program's folder, or in a folder above one of them.
func FindSource() (string, error) {
	if dir := os.Getenv("KAPOK_LOCALCLUSTER_SOURCE"); dir != "" {
		return dir, nil
	}
	var starts []string
	if dir, err := os.Getwd(); err == nil {
		starts = append(starts, dir)
	}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	for _, start := range starts {
		for dir := start; ; dir = filepath.Dir(dir) {
			for _, candidate := range []string{dir, filepath.Join(dir, "hack", "localcluster")} {
				if isSource(candidate) {
					return candidate, nil
				}
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", errors.New("cannot find the sources to build Kubernetes from: run inside the repository, or set KAPOK_LOCALCLUSTER_SOURCE to its folder hack/localcluster")
}

func isSource(dir string) bool {
	data, err := os.ReadFile(filepath.Join(dir, "kubernetes", "go.mod"))
	return err == nil && strings.Contains(string(data), "kapok/hack/localcluster/kubernetes")
}
