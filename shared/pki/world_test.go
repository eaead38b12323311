package pki

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// world is a model of several replicas that share places. They run the real
// Decide; certificates are only their dates. True time is what API servers have.
type world struct {
	t      *testing.T
	random *rand.Rand
	policy Policy
	start  time.Time
	// at is the true time since the start, and everybody's uptime.
	at       time.Duration
	replicas []*replica
	places   map[string]*place
	born     int
	// disturbed is when somebody last took away what a replica had published: what
	// is not trusted because of that is nobody's fault.
	disturbed time.Duration
	log       []func() string
}

type replica struct {
	name   string
	offset time.Duration
	bundle Bundle
	began  time.Duration
	// ready is set for ever once the leaf was trusted.
	ready bool
	// slept says that it has done nothing when it last could.
	slept  bool
	issued int
}

// place is a bundle with what API servers that are a little behind see of it.
type place struct {
	exists  bool
	entries []Entry
	past    []snapshot
}

type snapshot struct {
	until   time.Duration
	exists  bool
	entries []Entry
}

const foreign = "somebody-elses"

func newWorld(t *testing.T, seed uint64, policy Policy) *world {
	w := &world{
		t: t, random: rand.New(rand.NewPCG(seed, 1)), policy: policy, start: time.Unix(1_800_000_000, 0), disturbed: -time.Hour,
		places: map[string]*place{},
	}
	for _, name := range []string{"validating", "mutating", "conversion"} {
		w.places[name] = &place{exists: true, entries: []Entry{{ID: foreign, NotAfter: w.start.Add(time.Hour)}}}
	}
	return w
}

func (w *world) logf(format string, args ...any) {
	at := w.at
	w.log = append(w.log, func() string { return fmt.Sprintf("%s ", at) + fmt.Sprintf(format, args...) })
}

func (w *world) failf(format string, args ...any) {
	w.t.Helper()
	for _, line := range w.log[max(0, len(w.log)-60):] {
		w.t.Log(line())
	}
	w.t.Fatalf("%s: %s", w.at, fmt.Sprintf(format, args...))
}

func (w *world) join(offset time.Duration) {
	w.born++
	name := fmt.Sprintf("replica-%d", w.born)
	w.replicas = append(w.replicas, &replica{name: name, offset: offset, began: w.at, bundle: Bundle{Replica: name}})
	w.logf("%s joins, its clock is off by %s", name, offset)
}

func (w *world) now(r *replica) Moment {
	return Moment{Wall: w.start.Add(w.at + r.offset), Uptime: w.at - r.began}
}

// write changes a place and keeps what it was.
func (w *world) write(p *place, exists bool, entries []Entry) {
	p.past = append(p.past, snapshot{until: w.at, exists: p.exists, entries: p.entries})
	if len(p.past) > 20 {
		p.past = p.past[1:]
	}
	p.exists, p.entries = exists, entries
}

// view is what the replicas' watches show of the places now.
func (w *world) view() []Place {
	var out []Place
	for _, name := range slices.Sorted(maps.Keys(w.places)) {
		p := w.places[name]
		place := Place{Name: name, State: PlaceAbsent}
		if p.exists {
			place.State, place.Entries = PlacePresent, slices.Clone(p.entries)
		}
		out = append(out, place)
	}
	return out
}

// run lets a replica decide and act until nothing is left to do.
func (w *world) run(r *replica) {
	for round := range 10 {
		now := w.now(r)
		r.bundle = r.bundle.See(now, w.view())
		if w.random.IntN(20) == 0 {
			r.bundle.Live = nil
		} else {
			r.bundle.Live = w.live(r)
		}
		plan := Decide(now, r.bundle, w.policy)
		if plan.Trusted && !r.ready {
			w.logf("%s is ready", r.name)
			r.ready = true
		}
		if len(plan.Steps) == 0 {
			return
		}
		if round == 9 {
			w.failf("P4: %s is never done: %+v", r.name, plan.Steps)
		}
		for _, step := range plan.Steps {
			w.logf("%s (%s): %T %+v", r.name, now.Wall, step, step)
			w.act(r, now, step)
		}
	}
}

// live is the list of replicas, which may be a little old.
func (w *world) live(r *replica) []string {
	var out []string
	for _, other := range w.replicas {
		if other != r && w.at-other.began < w.policy.Grace/2 && w.random.IntN(2) == 0 {
			continue
		}
		out = append(out, other.name)
	}
	return out
}

func (w *world) act(r *replica, now Moment, step Step) {
	if step.Reason() == "" {
		w.failf("%T has no reason", step)
	}
	switch step := step.(type) {
	case MakeAuthority:
		w.born++
		since := now.Wall.Add(-backdate)
		if len(r.bundle.Own) > 0 && r.bundle.Own[len(r.bundle.Own)-1].NotBefore.Before(since) {
			since = r.bundle.Own[len(r.bundle.Own)-1].NotBefore
		}
		r.bundle.Own = append(slices.Clone(r.bundle.Own), Authority{
			ID: fmt.Sprintf("%s-%d", r.name, w.born),
			Span: Span{
				NotBefore: since, NotAfter: now.Wall.Add(w.policy.AuthorityLife), Life: w.policy.AuthorityLife, Made: now.Uptime,
			},
		})
		if len(r.bundle.Own) > 3 {
			w.failf("%s has %d authorities", r.name, len(r.bundle.Own))
		}
	case Serve:
		w.serve(r, now, step)
	case Publish:
		w.publish(r, now, step)
	case Forget:
		if r.bundle.Leaf != nil && r.bundle.Leaf.Authority == step.Authority {
			w.failf("P2: %s forgets the authority of its leaf", r.name)
		}
		r.bundle.Own = slices.DeleteFunc(slices.Clone(r.bundle.Own), func(a Authority) bool { return a.ID == step.Authority })
	}
}

func (w *world) serve(r *replica, now Moment, step Serve) {
	signer, known := r.bundle.own(step.Authority)
	if !known {
		w.failf("%s serves a leaf of an authority that it does not have", r.name)
	}
	if r.bundle.Leaf != nil && r.bundle.Leaf.Authority != step.Authority {
		for _, place := range r.bundle.Places {
			if place.State == PlacePresent && !place.has(step.Authority) {
				w.failf("P1: %s switches before %s holds the authority", r.name, place.Name)
			}
		}
		if r.bundle.Leaf.valid(now) && now.Uptime-r.bundle.everywhere[step.Authority] < w.policy.Settle {
			w.failf("P1: %s does not wait before it switches", r.name)
		}
	}
	end := leafEnd(now, signer, w.policy.LeafLife)
	r.bundle.Leaf = &Leaf{Authority: signer.ID, Span: Span{
		NotBefore: signer.NotBefore, NotAfter: end, Life: max(0, end.Sub(now.Wall)), Made: now.Uptime,
	}}
	r.issued++
}

func (w *world) publish(r *replica, _ Moment, step Publish) {
	p := w.places[step.Place]
	for _, entry := range p.entries {
		if !slices.Contains(step.Remove, entry.ID) {
			continue
		}
		if entry.Replica == "" {
			w.failf("P3: %s removes what is not ours from %s", r.name, step.Place)
		}
		for _, other := range w.replicas {
			if other != r && other.name == entry.Replica {
				w.failf("P3: %s removes an authority of %s, which lives", r.name, other.name)
			}
		}
	}
	for _, authority := range r.bundle.Own {
		inUse := r.bundle.Leaf != nil && r.bundle.Leaf.Authority == authority.ID
		newest := authority.ID == r.bundle.Own[len(r.bundle.Own)-1].ID
		if (inUse || newest) && slices.Contains(step.Remove, authority.ID) {
			w.failf("P2: %s removes an authority that it needs from %s", r.name, step.Place)
		}
	}
	if w.random.IntN(10) == 0 {
		return // A conflict: somebody else was faster.
	}
	entries := slices.DeleteFunc(slices.Clone(p.entries), func(e Entry) bool { return slices.Contains(step.Remove, e.ID) })
	for _, id := range step.Add {
		authority, known := r.bundle.own(id)
		if !known {
			w.failf("%s publishes what it does not have", r.name)
		}
		entries = append(entries, Entry{ID: id, Replica: r.name, NotAfter: authority.NotAfter})
	}
	w.write(p, p.exists, entries)
}

// pass lets time go by and everybody act meanwhile, at moments of their own.
func (w *world) pass(d time.Duration) {
	for d > 0 {
		step := min(d, time.Duration(1+w.random.Int64N(int64(3*time.Hour))))
		w.at += step
		d -= step
		w.check()
		for _, i := range w.random.Perm(len(w.replicas)) {
			r := w.replicas[i]
			// Nobody sleeps for longer than twice three hours.
			if r.slept = !r.slept && w.random.IntN(4) == 0; !r.slept {
				w.run(r)
				w.check()
			}
		}
	}
}

// check asks every API server, the ones that are behind too, whether it accepts
// what the replicas that are ready serve.
func (w *world) check() {
	truth := w.start.Add(w.at)
	for name, p := range w.places {
		if !slices.ContainsFunc(p.entries, func(e Entry) bool { return e.ID == foreign }) {
			w.failf("P3: somebody else's entry is not in %s any more", name)
		}
	}
	// It takes the replicas a round to put back what was taken away, and the API
	// servers a moment to see it.
	if w.at-w.disturbed < 12*time.Hour {
		return
	}
	for _, r := range w.replicas {
		if !r.ready {
			continue
		}
		if truth.Before(r.bundle.Leaf.NotBefore) || !truth.Before(r.bundle.Leaf.NotAfter) {
			w.failf("%s serves a leaf from %s to %s at %s", r.name, r.bundle.Leaf.NotBefore, r.bundle.Leaf.NotAfter, truth)
		}
		for name, p := range w.places {
			views := []snapshot{{exists: p.exists, entries: p.entries}}
			for _, old := range p.past {
				if old.until > w.at-readySettle {
					views = append(views, old)
				}
			}
			for _, view := range views {
				if view.exists && !slices.ContainsFunc(view.entries, func(e Entry) bool { return e.ID == r.bundle.Leaf.Authority }) {
					w.failf("%s serves a leaf that an API server does not trust because of %s: %+v", r.name, name, view.entries)
				}
			}
		}
	}
}

// disturb does something that nobody asked for.
func (w *world) disturb(kind byte, amount byte) {
	r := w.replicas[int(amount)%len(w.replicas)]
	names := slices.Sorted(maps.Keys(w.places))
	p := w.places[names[int(amount)%len(names)]]
	switch kind % 8 {
	case 0, 1:
		w.pass(time.Duration(amount) * time.Hour)
	case 2:
		// What a leaf has left when it is renewed bounds how far a clock may be behind.
		r.offset = -time.Duration(amount) * 11 * time.Minute
		w.logf("the clock of %s is now off by %s", r.name, r.offset)
	case 3:
		// Once there is an authority, a clock may run ahead as far as it likes.
		r.offset = time.Duration(amount) * 30 * time.Hour
		if len(r.bundle.Own) == 0 {
			r.offset = min(r.offset, backdate)
		}
		w.logf("the clock of %s is now off by %s", r.name, r.offset)
	case 4:
		r.offset = 0
	case 5:
		w.replicas = slices.DeleteFunc(w.replicas, func(other *replica) bool { return other == r })
		w.logf("%s is lost", r.name)
		w.join(0)
	case 6:
		w.write(p, p.exists, slices.DeleteFunc(slices.Clone(p.entries), func(e Entry) bool { return e.Replica != "" }))
		w.disturbed = w.at
		w.logf("somebody empties a place")
	case 7:
		w.write(p, !p.exists, p.entries)
		w.disturbed = w.at
		w.logf("somebody deletes or creates a place")
	}
}

// play runs a script of disturbances, then waits until everything is calm.
func play(t *testing.T, seed uint64, script []byte, policy Policy) *world {
	w := newWorld(t, seed, policy)
	for range 3 {
		w.join(0)
	}
	for i := 0; i+1 < len(script) && i < 200; i += 2 {
		w.disturb(script[i], script[i+1])
		w.pass(time.Hour)
	}
	for _, r := range w.replicas {
		r.offset = 0
	}
	for _, p := range w.places {
		w.write(p, true, p.entries)
	}
	w.disturbed = w.at
	w.pass(3 * 24 * time.Hour)
	for _, r := range w.replicas {
		if !r.ready {
			w.failf("%s never becomes ready", r.name)
		}
	}
	for name, p := range w.places {
		for _, entry := range p.entries {
			if entry.Replica != "" && !slices.ContainsFunc(w.replicas, func(r *replica) bool { return r.name == entry.Replica }) {
				w.failf("%s still holds an authority of %s, which is gone", name, entry.Replica)
			}
		}
		if len(p.entries) > 1+2*len(w.replicas) {
			w.failf("%s holds %d entries for %d replicas", name, len(p.entries), len(w.replicas))
		}
	}
	return w
}

func FuzzDecide(f *testing.F) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 2))
		script := make([]byte, 80)
		for i := range script {
			script[i] = byte(random.Uint32())
		}
		f.Add(seed, script)
	}
	f.Fuzz(func(t *testing.T, seed uint64, script []byte) {
		play(t, seed, script, DefaultPolicy())
	})
}

// TestReplicasThatShareBundles plays many random scripts: everybody is trusted at
// all times, whatever the clocks do.
func TestReplicasThatShareBundles(t *testing.T) {
	issued := 0
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 3))
		script := make([]byte, 2*(10+random.IntN(60)))
		for i := range script {
			script[i] = byte(random.Uint32())
		}
		policy := DefaultPolicy()
		policy.RenewBefore = time.Duration(random.Int64N(int64(policy.AuthorityLife * 2 / 3)))
		for _, r := range play(t, seed, script, policy).replicas {
			issued += r.issued
		}
	}
	if issued < 1000 {
		t.Errorf("only %d certificates were issued: the scripts prove little", issued)
	}
}
