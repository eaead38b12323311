package replay_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/replay"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/sandbox"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/pasts"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/servers"
	"github.com/kapok-operators/kapok/shared/agent"
)

// pool is what makes a test's servers small.
const pool = 32 << 20

func TestMain(m *testing.M) {
	code := m.Run()
	if err := servers.Forget(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// happen makes a history whose only full backup is that of a server that was just initialised.
func happen(t *testing.T, program string, r *rand.Rand) pasts.Past {
	t.Helper()
	p := pasts.Happen(t, program, r, 0)
	p.Catalog.Fulls = []backup.Full{{Name: "nothing"}}
	return p
}

// options are for a replay on a server that was only initialised.
func options(t *testing.T, program string, p pasts.Past) replay.Options {
	t.Helper()
	return replay.Options{
		Sandbox: sandbox.Options{Mysqld: program, DataDir: servers.Blank(t, program), RunDir: servers.Folder(t), PoolBytes: pool, Supervisor: &agent.Supervisor{}},
		Store:   p.Store, Cluster: pasts.Cluster, Identities: []age.Identity{p.Key}, BatchBytes: 40_000,
	}
}

// TestWhatIsReplayedIsWhatWas compares, on real servers, what a replay brings back with what the server showed at that moment.
func TestWhatIsReplayedIsWhatWas(t *testing.T) {
	program := servers.Program(t, os.Getenv("KAPOK_MYSQLD"))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 5))
	p := happen(t, program, r)
	last := len(p.Moments) - 1
	some := func() int { return 1 + r.IntN(last-1) }
	a, b, c := some(), some(), some()
	for name, test := range map[string]struct {
		target backup.Target
		want   pasts.Moment
	}{
		"the newest":           {backup.Target{}, p.Moments[last]},
		"a time":               {backup.Target{Time: p.Moments[a].At}, p.Moments[a]},
		"with a transaction":   {backup.Target{Through: p.Moments[b].GTID}, p.Moments[b]},
		"before a transaction": {backup.Target{Before: p.Moments[c].GTID}, p.Moments[c-1]},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := p.Catalog.Restore(test.target)
			if err != nil {
				t.Fatal(err)
			}
			o := options(t, program, p)
			done := 0
			o.Progress = func(n, _ int) { done = n }
			executed, err := replay.Run(t.Context(), o, plan)
			if err != nil {
				t.Fatal(err)
			}
			if done != len(plan.Pieces) || !executed.Contains(test.want.GTID) {
				t.Errorf("%d of %d pieces, up to %s", done, len(plan.Pieces), executed)
			}
			left, err := filepath.Glob(filepath.Join(o.Sandbox.DataDir, "relay*"))
			if err != nil || len(left) > 0 {
				t.Errorf("it leaves %v, %v", left, err)
			}
			s := servers.Run(t, program, o.Sandbox.DataDir)
			if got := s.Text(pasts.State); got != test.want.State {
				t.Errorf("it brings back %q, and there was %q", got, test.want.State)
			}
			if got := pasts.Parse(t, s.Text("SELECT @@gtid_executed")); !got.Equal(executed) {
				t.Errorf("the server has executed %s, and is said to have executed %s", got, executed)
			}
			s.Do("INSERT INTO shop.t (b) VALUES ('it can be written to')")
		})
	}
}

func TestWhatCannotBeReplayedIsSaid(t *testing.T) {
	program := servers.Program(t, os.Getenv("KAPOK_MYSQLD"))
	p := happen(t, program, rand.New(rand.NewPCG(1, 6)))
	plan, err := p.Catalog.Restore(backup.Target{})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		spoil func(o *replay.Options, plan *backup.Plan)
		want  string
	}{
		"no key":          {func(o *replay.Options, _ *backup.Plan) { o.Identities = nil }, "none of the given keys"},
		"another content": {func(_ *replay.Options, plan *backup.Plan) { plan.Pieces[0].SHA256 = strings.Repeat("0", 64) }, "not what was written"},
		"another size":    {func(_ *replay.Options, plan *backup.Plan) { plan.Pieces[0].Bytes -= 10 }, "end"},
		"a backup that lacks something": {func(_ *replay.Options, plan *backup.Plan) {
			plan.Full.Holds = p.Moments[0].GTID
		}, "lacks " + p.Moments[0].GTID.String()},
		"a transaction that is not there": {func(_ *replay.Options, plan *backup.Plan) {
			plan.Until.Through = pasts.Parse(t, "33333333-3333-3333-3333-333333333333:1")
		}, "does not hold the transaction"},
		"a piece that is left out": {func(_ *replay.Options, plan *backup.Plan) { plan.Pieces = plan.Pieces[1:] }, "error 1"},
	} {
		t.Run(name, func(t *testing.T) {
			o, spoilt := options(t, program, p), plan
			spoilt.Pieces = append([]backup.Piece(nil), plan.Pieces...)
			test.spoil(&o, &spoilt)
			executed, err := replay.Run(t.Context(), o, spoilt)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s, %v, want %q", executed, err, test.want)
			}
		})
	}
}

// TestDataThatDoNotKnowWhatTheyHoldAreTold: a server with a binary log may have written down nowhere else what it has executed, so that data that were
// taken without the log lack it. The rows are there; what is replayed onto them must not be replayed twice.
func TestDataThatDoNotKnowWhatTheyHoldAreTold(t *testing.T) {
	program := servers.Program(t, os.Getenv("KAPOK_MYSQLD"))
	p := happen(t, program, rand.New(rand.NewPCG(3, 8)))
	last := len(p.Moments) - 1
	half := p.Moments[last/2]
	o := options(t, program, p)
	first, err := p.Catalog.Restore(backup.Target{Through: half.GTID})
	if err != nil {
		t.Fatal(err)
	}
	held, err := replay.Run(t.Context(), o, first)
	if err != nil {
		t.Fatal(err)
	}
	s := servers.Run(t, program, o.Sandbox.DataDir)
	s.Do("RESET BINARY LOGS AND GTIDS")
	s.Stop()
	for _, pattern := range []string{"binlog.*", "auto.cnf"} {
		left, err := filepath.Glob(filepath.Join(o.Sandbox.DataDir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range left {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.Catalog.Fulls = []backup.Full{{Name: "half", Holds: held, Within: held}}
	plan, err := p.Catalog.Restore(backup.Target{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := replay.Run(t.Context(), o, plan); err == nil || !strings.Contains(err.Error(), "lacks") {
		t.Fatalf("untold: %v", err)
	}
	o.Adopt = held
	executed, err := replay.Run(t.Context(), o, plan)
	if err != nil {
		t.Fatal(err)
	}
	s = servers.Run(t, program, o.Sandbox.DataDir)
	if got := s.Text(pasts.State); got != p.Moments[last].State {
		t.Errorf("it brings back %q, and there was %q", got, p.Moments[last].State)
	}
	if got := pasts.Parse(t, s.Text("SELECT @@gtid_executed")); !got.Equal(executed) || !got.Contains(held) {
		t.Errorf("the server has executed %s, and is said to have executed %s", got, executed)
	}
	s.Stop()
	// What is known already is adopted once more without harm.
	plan.Pieces, plan.Full.Holds = nil, executed
	o.Adopt = executed
	if again, err := replay.Run(t.Context(), o, plan); err != nil || !again.Equal(executed) {
		t.Errorf("again: %s, %v", again, err)
	}
}

// TestWhatWasGivenUpIsNotReplayed: of the pieces of a history that a forced promotion has cut short, what it has given up is left out, in the middle of
// a piece as well.
func TestWhatWasGivenUpIsNotReplayed(t *testing.T) {
	program := servers.Program(t, os.Getenv("KAPOK_MYSQLD"))
	p := happen(t, program, rand.New(rand.NewPCG(9, 10)))
	kept := p.Moments[len(p.Moments)/2]
	there, err := p.Catalog.Restore(backup.Target{Through: kept.GTID})
	if err != nil {
		t.Fatal(err)
	}
	want, err := replay.Run(t.Context(), options(t, program, p), there)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := p.Catalog.Restore(backup.Target{})
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range plan.Pieces {
		plan.Discarded = plan.Discarded.Union(piece.Holds.Subtract(want))
	}
	if plan.Discarded.IsEmpty() {
		t.Fatal("nothing is given up")
	}
	o := options(t, program, p)
	executed, err := replay.Run(t.Context(), o, plan)
	if err != nil {
		t.Fatal(err)
	}
	if !executed.Equal(want) {
		t.Errorf("it has executed %s, want %s", executed, want)
	}
	s := servers.Run(t, program, o.Sandbox.DataDir)
	if got := s.Text(pasts.State); got != kept.State {
		t.Errorf("it brings back %q, and there was %q", got, kept.State)
	}
}
