package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/control"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/progress"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/supervisor"
)

// Load imports image archives on every node, the nodes in parallel.
func Load(ctx context.Context, name string, archives []string, out *progress.Printer) error {
	for _, a := range archives {
		if _, err := os.Stat(a); err != nil {
			return fmt.Errorf("image archive: %w", err)
		}
	}
	st, err := running(ctx, name)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var all error
	var wg sync.WaitGroup
	for _, b := range st.Boxes {
		if b.Name == spec.ControlPlane {
			continue
		}
		if b.State == control.Off || b.State == control.Frozen {
			all = errors.Join(all, fmt.Errorf("%s is %s: nothing was loaded there", b.Name, b.State))
			continue
		}
		wg.Go(func() {
			for _, a := range archives {
				if err := supervisor.Load(ctx, b.Pid, a); err != nil {
					mu.Lock()
					all = errors.Join(all, fmt.Errorf("load %s on %s: %w", filepath.Base(a), b.Name, err))
					mu.Unlock()
					return
				}
			}
		})
	}
	begun := time.Now()
	wg.Wait()
	if all != nil {
		return all
	}
	out.Line("%d image archives loaded on every node (%.1fs)", len(archives), time.Since(begun).Seconds())
	return nil
}

// Exec runs a program in a box, with this process's input and output.
func Exec(ctx context.Context, name, node string, args []string) error {
	st, err := running(ctx, name)
	if err != nil {
		return err
	}
	for _, b := range st.Boxes {
		if b.Name == node {
			if b.Pid == 0 {
				return fmt.Errorf("%s is %s", node, b.State)
			}
			return supervisor.Enter(ctx, b.Pid, os.Stdin, os.Stdout, args...)
		}
	}
	return fmt.Errorf("there is no node %q in cluster %s", node, name)
}

func running(ctx context.Context, name string) (control.Status, error) {
	st, found, err := Status(ctx, name)
	if err != nil {
		return st, err
	}
	if !found || st.State != control.Ready {
		return st, fmt.Errorf("cluster %s is %s; bring it up first", name, st.State)
	}
	return st, nil
}
