package manager

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// world sees who works on what, across all processes of a test.
type world struct {
	mu     sync.Mutex
	acting map[types.NamespacedName]string
	// worked says who was the last to begin on an object.
	worked map[types.NamespacedName]string
	clash  []string
}

func newWorld() *world {
	return &world{acting: map[types.NamespacedName]string{}, worked: map[types.NamespacedName]string{}}
}

func (w *world) begin(key types.NamespacedName, who string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if other := w.acting[key]; other != "" {
		w.clash = append(w.clash, fmt.Sprintf("%s works on %s while %s does", who, key, other))
	}
	w.acting[key], w.worked[key] = who, who
}

func (w *world) end(key types.NamespacedName, who string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.acting[key] == who {
		delete(w.acting, key)
	}
}

// all says whether every object was worked on since the last forget, by whom it has to be.
func (w *world) all(keys []types.NamespacedName, by func(types.NamespacedName) string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !slices.ContainsFunc(keys, func(key types.NamespacedName) bool { return w.worked[key] != by(key) })
}

func (w *world) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.worked)
}

// stage is a namespace with objects that several processes work on without end.
type stage struct {
	*world
	t    *testing.T
	ns   string
	keys []types.NamespacedName
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{world: newWorld(), t: t, ns: namespace(t)}
	for i := range 30 {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: fmt.Sprint("object-", i)}}
		if err := env.Client.Create(t.Context(), cm); err != nil {
			t.Fatal(err)
		}
		s.keys = append(s.keys, client.ObjectKeyFromObject(cm))
	}
	t.Cleanup(func() {
		if len(s.clash) > 0 {
			t.Errorf("%d times two processes worked on one object, first %s", len(s.clash), s.clash[0])
		}
	})
	return s
}

// process is an operator of a stage whose network can be cut.
type process struct {
	*running
	name string
	cut  *atomic.Bool
}

var errCut = errors.New("the network is cut")

type wire struct {
	below http.RoundTripper
	cut   *atomic.Bool
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if w.cut.Load() {
		return nil, errCut
	}
	return w.below.RoundTrip(req)
}

// brief gives elections that run out within a test, and that a loaded machine seldom disturbs.
const brief = 10 * time.Second

func (s *stage) start(name string, shard Shard) *process {
	s.t.Helper()
	p := &process{name: name, cut: &atomic.Bool{}}
	rc := rest.CopyConfig(env.Config)
	rc.Wrap(func(below http.RoundTripper) http.RoundTripper { return &wire{below: below, cut: p.cut} })
	work := reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
		if ctx.Err() != nil {
			return reconcile.Result{}, nil
		}
		s.begin(req.NamespacedName, name)
		defer s.end(req.NamespacedName, name)
		select {
		case <-ctx.Done():
		case <-time.After(30 * time.Millisecond):
		}
		return reconcile.Result{RequeueAfter: 20 * time.Millisecond}, nil
	})
	p.running = start(s.t, rc, func(c *Config) {
		c.LeaderElectionNamespace, c.Namespaces, c.Shard, c.Concurrency = s.ns, []string{s.ns}, shard, 10
		c.LeaseDuration, c.RenewDeadline, c.RetryPeriod = brief, brief*7/10, 500*time.Millisecond
	}, func(mgr *Manager) {
		unnamed := true
		err := ctrl.NewControllerManagedBy(mgr).For(&corev1.ConfigMap{}).
			WithOptions(controller.Options{SkipNameValidation: &unnamed}).Complete(mgr.Sharded(work))
		if err != nil {
			s.t.Fatal(err)
		}
	})
	return p
}

func (s *stage) shards(name string, count int) []*process {
	s.t.Helper()
	var out []*process
	for index := range count {
		out = append(out, s.start(fmt.Sprint(name, index), Shard{Count: count, Index: index}))
	}
	return out
}

// owner says which of the processes has an object.
func owner(processes []*process) func(types.NamespacedName) string {
	return func(key types.NamespacedName) string {
		for _, p := range processes {
			if p.Shard.Owns(key) {
				return p.name
			}
		}
		return "nobody"
	}
}

func (s *stage) settled(processes ...*process) {
	s.t.Helper()
	eventually(s.t, "all objects are worked on by "+processes[0].name+" and those with it", func() bool { return s.all(s.keys, owner(processes)) })
	s.forget()
	eventually(s.t, "they go on", func() bool { return s.all(s.keys, owner(processes)) })
}

// idle sees that none of the processes leads for some time.
func (s *stage) idle(why string, d time.Duration, processes ...*process) {
	s.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		for _, p := range processes {
			if p.leads() {
				s.t.Fatalf("%s leads although %s", p.name, why)
			}
		}
	}
}

func (s *stage) finish(processes ...*process) {
	s.t.Helper()
	for _, p := range processes {
		if err := p.stop(); err != nil {
			s.t.Fatalf("stop %s: %v", p.name, err)
		}
	}
}

func terms(t *testing.T, processes ...*process) (lowest, highest uint64) {
	t.Helper()
	var all []uint64
	for _, p := range processes {
		term, leads := p.Term.Term()
		if !leads {
			t.Fatalf("%s does not lead", p.name)
		}
		all = append(all, term)
	}
	slices.Sort(all)
	if len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Errorf("two leaderships have one term: %v", all)
	}
	return all[0], all[len(all)-1]
}

// TestResharding goes from no shards to two, to three, and back, with the processes of both generations up at the same time as
// in a rolling update. Some end well and some are cut off. No object is ever worked on by two.
func TestResharding(t *testing.T) {
	s := newStage(t)
	whole := s.start("whole", Shard{})
	s.settled(whole)
	_, before := terms(t, whole)
	grows := func(what string, processes ...*process) {
		t.Helper()
		lowest, highest := terms(t, processes...)
		if lowest <= before {
			t.Errorf("%s: term %d is not greater than %d of an earlier leadership", what, lowest, before)
		}
		before = highest
	}

	two := s.shards("two-", 2)
	s.idle("an operator without shards does", 2*time.Second, two...)
	s.finish(whole)
	given := time.Now()
	s.settled(two...)
	// Even of a Lease that was given up what was promised under it has to end: AfterExpiry rests on that.
	if took := time.Since(given); took < brief {
		t.Errorf("the shards began %s after the Lease was given up", took)
	}
	grows("two after one", two...)

	three := s.shards("three-", 3)
	s.idle("there are two shards", 2*time.Second, three...)
	s.finish(two[0])
	s.idle("one of two shards is left", brief+2*time.Second, three...)
	two[1].cut.Store(true)
	s.settled(three...)
	grows("three after two", three...)
	if err := two[1].stop(); err == nil || !errors.Is(err, ErrLeadershipLost) {
		t.Errorf("the shard that was cut off ended with %v", err)
	}

	again := s.start("again", Shard{Count: 1})
	s.idle("there are three shards", 2*time.Second, again)
	s.finish(three...)
	s.settled(again)
	grows("one after three", again)
}

// TestShardTakeover: a shard's leader that is gone is replaced as that of an operator is, and the other shards notice nothing.
func TestShardTakeover(t *testing.T) {
	s := newStage(t)
	first, other := s.start("first", Shard{Count: 2}), s.start("other", Shard{Count: 2, Index: 1})
	s.settled(first, other)
	earlier, _ := terms(t, first)
	undisturbed, _ := terms(t, other)
	standby := s.start("standby", Shard{Count: 2})
	s.idle("the shard has a leader", time.Second, standby)
	first.cut.Store(true)
	s.settled(standby, other)
	later, _ := terms(t, standby)
	if now, _ := terms(t, other); later <= earlier || now != undisturbed {
		t.Errorf("term %d follows %d; the other shard's was %d and is %d", later, earlier, undisturbed, now)
	}
	if !standby.Term.AfterExpiry() || other.Term.AfterExpiry() {
		t.Error("that the Lease ran out is not known, or said of the wrong shard")
	}
	if sure := standby.Term.Sure(); sure <= 0 || sure > brief {
		t.Errorf("sure for %s", sure)
	}
	_ = first.stop()
	s.finish(standby)
	// Given up, so the next one is at once there: the generation goes on.
	next := s.start("next", Shard{Count: 2})
	s.settled(next, other)
	if next.Term.AfterExpiry() {
		t.Error("a Lease that was given up is taken for one that ran out")
	}
}

// TestOneGenerationBegins: of many that see at the same moment that the Lease has run out, one generation gets it.
func TestOneGenerationBegins(t *testing.T) {
	ns := namespace(t)
	leases, err := coordinationv1client.NewForConfig(env.Config)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 20 {
		at := time.Now()
		var members []*generation
		for i := range 8 {
			members = append(members, &generation{
				leases: leases.Leases(ns), name: fmt.Sprint("round-", round), duration: 4 * time.Second,
				shard: Shard{Count: 2 + i/2, Index: i % 2}, now: func() time.Time { return at },
			})
		}
		for _, g := range members {
			if err := g.join(t.Context()); err == nil || !strings.Contains(err.Error(), "wait") {
				t.Fatalf("a generation began at its first look: %v", err)
			}
		}
		at = at.Add(4 * time.Second)
		joined := make([]bool, len(members))
		var wg sync.WaitGroup
		for i, g := range members {
			wg.Go(func() { joined[i] = g.join(t.Context()) == nil })
		}
		wg.Wait()
		began := map[int]bool{}
		for i, ok := range joined {
			if ok {
				began[members[i].shard.Count] = true
			}
		}
		if len(began) != 1 {
			t.Fatalf("round %d: generations of %v began", round, began)
		}
		for i, g := range members {
			if err := g.renew(t.Context()); (err == nil) != began[members[i].shard.Count] {
				t.Errorf("shard of %d renews: %v", members[i].shard.Count, err)
			}
		}
	}
}

// TestRenewalsOfShardsDiffer: two shards that renew in the same microsecond both change the Lease.
func TestRenewalsOfShardsDiffer(t *testing.T) {
	at := time.Now()
	seen := map[int64]bool{}
	for index := range 7 {
		g := &generation{shard: Shard{Count: 7, Index: index}, now: func() time.Time { return at }}
		seen[g.stamp().UnixMicro()] = true
		if off := at.Sub(g.stamp()).Abs(); off > 10*time.Microsecond {
			t.Errorf("a renewal is %s off", off)
		}
	}
	if len(seen) != 7 {
		t.Errorf("7 shards write %d times", len(seen))
	}
}

// TestWithoutShardsNothingIsDifferent: one Lease, no verb that was not needed before, and no more writes than the flag says.
func TestWithoutShardsNothingIsDifferent(t *testing.T) {
	var mu sync.Mutex
	asked := map[string]int{}
	rc := rest.CopyConfig(env.Config)
	rc.Wrap(func(below http.RoundTripper) http.RoundTripper {
		return roundTrip(func(req *http.Request) (*http.Response, error) {
			mu.Lock()
			if _, lease, ok := strings.Cut(req.URL.Path, "/leases"); ok {
				asked[req.Method+" "+lease]++
			}
			mu.Unlock()
			return below.RoundTrip(req)
		})
	})
	ns := namespace(t)
	r := start(t, rc, func(c *Config) {
		calm(ns)(c)
		c.RetryPeriod = 900 * time.Millisecond
	})
	eventually(t, "the replica leads", r.leads)
	began := time.Now()
	time.Sleep(5 * time.Second)
	mu.Lock()
	writes, most := asked["PUT /test-operator"], int(time.Since(began)/(700*time.Millisecond))+1
	mu.Unlock()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if writes > most {
		t.Errorf("%d renewals, at most %d were due", writes, most)
	}
	for what := range asked {
		if !slices.Contains([]string{"GET /test-operator", "POST ", "PUT /test-operator"}, what) {
			t.Errorf("asked %s", what)
		}
	}
	var leases coordinationv1.LeaseList
	if err := env.Client.List(t.Context(), &leases, client.InNamespace(ns)); err != nil || len(leases.Items) != 1 {
		t.Errorf("%d Leases, %v", len(leases.Items), err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// TestShardsThatNothingKeepsTo: an operator that offers shards and divides nothing does not start.
func TestShardsThatNothingKeepsTo(t *testing.T) {
	c, err := flags(t, "-shards=2", "-leader-election-namespace=default")
	if err != nil {
		t.Fatal(err)
	}
	c.HealthAddress, c.MetricsAddress = "0", "0"
	mgr, err := New(env.Config, c, ctrl.Log)
	if err != nil {
		t.Fatal(err)
	}
	if err := mgr.Start(t.Context()); !errors.Is(err, errUnsharded) {
		t.Errorf("got %v", err)
	}
}
