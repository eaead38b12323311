package controller_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/shared/testkit"
)

var (
	crashAll    = flag.Bool("crash.all", false, "try every crash point, stale view and lost event of every path instead of a sample")
	crashSample = flag.Int("crash.sample", 3, "how many of them are tried for each path")
	crashSeed   = flag.Uint64("crash.seed", 1, "which of them are tried")
)

// fault is what happens to one write of a path.
type fault struct {
	mode testkit.Mode
	// restart: a straggler's operator ends before it lands.
	restart bool
	at      int
}

func (f fault) String() string {
	if f.restart {
		return fmt.Sprintf("%s of an ended operator at %d", f.mode, f.at)
	}
	return fmt.Sprintf("%s at %d", f.mode, f.at)
}

// faults are all that can happen to n writes.
func faults(n int) []fault {
	var out []fault
	for _, mode := range testkit.Modes() {
		for at := 1; at <= n; at++ {
			// A crash before a write leaves what a crash after the one before it leaves.
			if mode == testkit.BeforeWrite && at > 1 {
				break
			}
			out = append(out, fault{mode: mode, at: at})
			if mode == testkit.Straggler {
				out = append(out, fault{mode: mode, at: at, restart: true})
			}
		}
	}
	return out
}

// sample returns all points, or some of them by the seed.
func sample[T any](name string, all []T) []T {
	k := *crashSample
	if *crashAll || len(all) <= k {
		return all
	}
	var salt uint64
	for _, c := range []byte(name) {
		salt = salt*31 + uint64(c)
	}
	r := rand.New(rand.NewPCG(*crashSeed, salt)) //nolint:gosec // A sample, not a secret.
	out := make([]T, 0, k)
	for _, i := range r.Perm(len(all))[:k] {
		out = append(out, all[i])
	}
	return out
}

// tally counts what a sweep has tried.
type tally struct {
	mu               sync.Mutex
	tried, of, wrong int
}

func (c *tally) add(tried, of int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tried, c.of = c.tried+tried, c.of+of
}

func (c *tally) failed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong++
}

// sweep tries points of every path, path by path side by side, and logs the counts.
func sweep[T fmt.Stringer](t *testing.T, all func(undisturbed) []T, try func(t *testing.T, p path, point T, want undisturbed)) {
	t.Helper()
	var count tally
	began := time.Now()
	t.Run("paths", func(t *testing.T) {
		known := paths()
		for _, name := range slices.Sorted(maps.Keys(known)) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				p := known[name]
				want := undisturbedOnce(t, name, p)
				points := all(want)
				if len(points) == 0 {
					t.Fatal("nothing to try")
				}
				tried := sample(t.Name(), points)
				count.add(len(tried), len(points))
				for _, point := range tried {
					if !t.Run(point.String(), func(t *testing.T) { try(t, p, point, want) }) {
						count.failed()
					}
				}
			})
		}
	})
	t.Logf("%d of %d points of %d paths tried (seed %d) in %s, %d divergences", count.tried, count.of, len(paths()), *crashSeed, time.Since(began).Round(time.Second), count.wrong)
	if count.tried == 0 {
		t.Error("nothing was tried")
	}
}

// TestCrashPoints lets something happen to every write of every path: the operator ends, the API server's answer is lost,
// fails or is late, or the write itself is. Whoever goes on must bring the cluster to the very state that an undisturbed
// run ends in, and do nothing on the way that cannot be undone but what that run does.
func TestCrashPoints(t *testing.T) {
	sweep(t, func(want undisturbed) []fault { return faults(want.writes) },
		func(t *testing.T, p path, f fault, want undisturbed) {
			w := p.prepare(t)
			point := testkit.NewCrashPoint(api, f.mode, f.at)
			point.Meanwhile = w.others
			w.restart(point)
			p.event(w)
			w.through(p, f, point)
			want.compare(w)
		})
}

// undisturbed is how a path goes when nothing happens to it.
type undisturbed struct {
	end            string
	deeds          []string
	writes, rounds int
	// events is how many events wake an operator that looks only then.
	events int
}

func (u undisturbed) compare(w *world) {
	w.t.Helper()
	if diff := cmp.Diff(u.end, w.snapshot()); diff != "" {
		w.t.Errorf("another end than an undisturbed run (-want +got):\n%s", diff)
	}
	for _, deed := range w.safety.done() {
		if !slices.Contains(u.deeds, deed) {
			w.t.Errorf("this cannot be undone, and an undisturbed run does not do it: %s\nit does:\n%q\nthis one did:\n%q", deed, u.deeds, w.safety.done())
		}
	}
}

// prepare makes a world in which the path can begin.
func (p path) prepare(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.cached = true
	w.restart(api)
	if p.before != nil {
		p.before(w)
	}
	w.besides = p.besides
	w.watched()
	return w
}

// references are the undisturbed runs, by the name of the path: the sweeps compare with the same one.
var references sync.Map

func undisturbedOnce(t *testing.T, name string, p path) undisturbed {
	t.Helper()
	if known, ok := references.Load(name); ok {
		if u, ok := known.(undisturbed); ok {
			return u
		}
	}
	u := p.undisturbed(t)
	references.Store(name, u)
	return u
}

func (p path) undisturbed(t *testing.T) undisturbed {
	t.Helper()
	w := p.prepare(t)
	w.restart(api)
	p.event(w)
	n := w.through(p, fault{}, w.writes)
	out := undisturbed{end: w.snapshot(), deeds: w.safety.done(), writes: w.writes.Writes(), rounds: n}
	w = p.prepare(t)
	events := testkit.NewEvents(testkit.DropEvents, 0, 1, testkit.WatchKey)
	w.woken(p, events)
	out.compare(w)
	out.events = events.Seen()
	return out
}

// landing is after how many rounds a straggler lands.
const landing = 3

// through runs rounds until the path has ended and nothing is left to write, and returns how many it took. When the
// operator's process has ended, another one goes on.
func (w *world) through(p path, f fault, point *testkit.CrashPoint) int {
	w.t.Helper()
	since, restarted := 0, false
	for n := range rounds {
		before := w.writes.Writes()
		err := w.round()
		if err != nil && !point.Reached() {
			w.t.Fatalf("a round failed before the crash: %v", err)
		}
		if point.Reached() {
			since++
			if f.restart {
				point.Crash()
			}
		}
		if !restarted && point.Crashed() {
			restarted = true
			w.restart(api)
			continue
		}
		landed := false
		if since > landing {
			// What becomes of it is up to the API server.
			landed, _ = point.Land(w.t.Context())
			w.safety.afterCommit()
		}
		if landed {
			// It is one more write that the cache has to see.
			w.synced = -1
		}
		waits := f.mode == testkit.Straggler && point.Reached() && since <= landing
		if err == nil && !waits && !landed && w.writes.Writes() == before && p.done(w) {
			return n + 1
		}
	}
	w.t.Fatalf("not there after %d rounds: %s", rounds, w.snapshot())
	return 0
}

// others is what everybody but the operator does while a write is slow.
func (w *world) others() {
	w.kubelet()
	w.agents.settle()
	if w.find() != nil {
		w.annotate(touched, w.clock.String())
	}
}
