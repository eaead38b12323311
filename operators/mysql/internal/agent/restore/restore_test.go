package restore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/parcel"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/restore"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/pasts"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/servers"
	"github.com/kapok-operators/kapok/shared/agent"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := servers.Forget(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func options(t *testing.T, program string, p pasts.Past, target backup.Target) restore.Options {
	t.Helper()
	return restore.Options{
		Store: p.Store, Cluster: pasts.Cluster, Target: target, Identities: []age.Identity{p.Key}, DataDir: filepath.Join(servers.Folder(t), "data"),
		Mysqld: program, RunDir: servers.Folder(t), PoolBytes: 32 << 20, Supervisor: &agent.Supervisor{},
	}
}

// left fails the test if anything is where the data are put.
func left(t *testing.T, o restore.Options) {
	t.Helper()
	found, err := filepath.Glob(o.DataDir + "*")
	if err != nil || len(found) > 0 {
		t.Errorf("it leaves %v, %v", found, err)
	}
}

// TestWhatIsRestoredIsWhatWas restores a random history, which was backed up three times while it was written, to random targets, and compares it with
// what the server showed then.
func TestWhatIsRestoredIsWhatWas(t *testing.T) {
	program := servers.Program(t, os.Getenv("KAPOK_MYSQLD"))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 7))
	p := pasts.Happen(t, program, r, 3)
	last := len(p.Moments) - 1
	targets := []struct {
		target backup.Target
		want   pasts.Moment
	}{{backup.Target{}, p.Moments[last]}}
	for range 20 {
		n := 1 + r.IntN(last-1)
		m := p.Moments[n]
		targets = append(targets, []struct {
			target backup.Target
			want   pasts.Moment
		}{
			{backup.Target{Time: m.At}, m}, {backup.Target{Through: m.GTID}, m}, {backup.Target{Before: m.GTID}, p.Moments[n-1]},
		}[r.IntN(3)])
	}
	used, done := map[string]bool{}, 0
	for n, test := range targets {
		if done == 4 {
			break
		}
		plan, err := p.Catalog.Restore(test.target)
		if err != nil {
			// It is from before the first backup was finished.
			continue
		}
		// Each full backup once, before one is used again.
		if used[plan.Full.Name] && n < 15 && len(used) < 3 {
			continue
		}
		used[plan.Full.Name] = true
		done++
		t.Run(fmt.Sprintf("%+v from %s", test.target, plan.Full.Name), func(t *testing.T) {
			o := options(t, program, p, test.target)
			stages := map[restore.Stage]int{}
			o.Progress = func(stage restore.Stage, done, _ int) { stages[stage] = done }
			var planned backup.Plan
			o.Planned = func(plan backup.Plan) { planned = plan }
			result, err := restore.Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if planned.Full.Name != plan.Full.Name || planned.Why == "" {
				t.Errorf("the plan that was told is %+v", planned)
			}
			if stages[restore.StageUnpack] != len(plan.Full.Parts) || stages[restore.StageReplay] != len(plan.Pieces) || result.Unpacking <= 0 {
				t.Errorf("stages %v of %+v", stages, result)
			}
			if _, err := os.Stat(filepath.Join(o.DataDir, "auto.cnf")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("it has the UUID of a server that was there before: %v", err)
			}
			s := servers.Run(t, program, o.DataDir)
			if got := s.Text(pasts.State); got != test.want.State {
				t.Errorf("it brings back %q, and there was %q", got, test.want.State)
			}
			if got := pasts.Parse(t, s.Text("SELECT @@gtid_executed")); !got.Equal(result.Executed) {
				t.Errorf("the server has executed %s, and is said to have executed %s", got, result.Executed)
			}
			// Nothing is restored over it.
			s.Stop()
			if _, err := restore.Run(t.Context(), o); err == nil {
				t.Error("data were overwritten")
			} else if _, ok := errors.AsType[*restore.OccupiedError](err); !ok {
				t.Error(err)
			}
		})
	}
	if done < 3 {
		t.Errorf("only %d targets were reached", done)
	}
}

// TestARestoreThatFailsLeavesNothing breaks a restore at several places, and then finishes it.
func TestARestoreThatFailsLeavesNothing(t *testing.T) {
	program := servers.Program(t, os.Getenv("KAPOK_MYSQLD"))
	p := pasts.Happen(t, program, rand.New(rand.NewPCG(2, 8)), 1)
	o := options(t, program, p, backup.Target{Time: time.Now().Add(time.Hour)})
	if _, err := restore.Run(t.Context(), o); err == nil {
		t.Error("the future was restored")
	} else if _, ok := errors.AsType[*backup.Unreachable](err); !ok {
		t.Error(err)
	}
	left(t, o)

	o = options(t, program, p, backup.Target{})
	identities := o.Identities
	o.Identities = nil
	if _, err := restore.Run(t.Context(), o); !errors.Is(err, parcel.ErrSealed) {
		t.Errorf("without the key: %v", err)
	}
	left(t, o)

	o.Identities = identities
	for _, stage := range []restore.Stage{restore.StageUnpack, restore.StageReplay} {
		ctx, cancel := context.WithCancel(t.Context())
		o.Progress = func(at restore.Stage, _, _ int) {
			if at == stage {
				cancel()
			}
		}
		_, err := restore.Run(ctx, o)
		if stage == restore.StageUnpack && !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled at %s: %v", stage, err)
		}
		if err != nil {
			left(t, o)
		}
	}
	// A killed agent leaves a folder that is not whole.
	o = options(t, program, p, backup.Target{})
	if err := os.MkdirAll(filepath.Join(o.DataDir+".restoring", "shop"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := restore.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	s := servers.Run(t, program, o.DataDir)
	if got, want := s.Text(pasts.State), p.Moments[len(p.Moments)-1].State; got != want {
		t.Errorf("it brings back %q, and there was %q", got, want)
	}
}
