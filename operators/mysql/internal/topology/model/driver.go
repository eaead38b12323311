package model

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// Options shape a run by chance.
type Options struct {
	// Seed chooses everything that is left to chance.
	Seed uint64
	// Steps is how many steps faults go on for; Settle how many rounds the world has to become healthy after that.
	Steps, Settle int
	// Trace receives what happens; nil for silence.
	Trace func(string)
}

// Result is what came of a run.
type Result struct {
	// Problem is empty if all promises were kept and the world became healthy in the end.
	Problem string
	// Steps were taken, Acked transactions acknowledged, Commits made by kind.
	Steps, Acked int
	// Forced counts promotions that the user had to force because the voters held what contradicts each other.
	Forced  int
	Commits map[topology.CommitKind]int
}

// driver chooses.
type driver struct {
	w     *World
	rng   *rand.Rand
	mood  mood
	steps int
	// forced counts the promotions that the user had to force.
	forced int
}

// mood makes runs differ: how often what happens, out of 1000 steps.
type mood struct {
	fault, write, tick, errant, losses, admin, leaders int
	quick                                              bool
}

// Run lets a world run by chance: faults first, then peace, in which it has to become healthy.
func Run(opts Options) Result {
	d := &driver{rng: rand.New(rand.NewPCG(opts.Seed, 1))} //nolint:gosec // Chance that can be repeated is what is wanted.
	d.w = New(1 + d.rng.IntN(5))
	d.w.Trace = opts.Trace
	d.mood = mood{
		fault: 1 + d.rng.IntN(40), write: 20 + d.rng.IntN(150), tick: 20 + d.rng.IntN(100), admin: d.rng.IntN(15),
		losses: d.rng.IntN(2) * d.rng.IntN(4), leaders: d.rng.IntN(2) * d.rng.IntN(10), quick: d.rng.IntN(2) == 0,
	}
	if d.rng.IntN(4) == 0 {
		d.mood.errant = d.rng.IntN(5)
	}
	res := Result{}
	if d.rng.IntN(5) > 0 {
		// Most runs begin with a cluster that stands.
		if d.settle(opts.Settle) {
			d.w.note("--- faults begin")
		}
	}
	for range opts.Steps {
		d.step()
		if len(d.w.Violations) > 0 {
			break
		}
	}
	if len(d.w.Violations) == 0 {
		d.peace()
		if !d.settle(opts.Settle) && len(d.w.Violations) == 0 {
			o := d.w.Operators[len(d.w.Operators)-1]
			res.Problem = fmt.Sprintf("not healthy in the end: %s: %s", o.Plan.State, o.Plan.Why)
		}
	}
	if len(d.w.Violations) > 0 {
		res.Problem = d.w.Violations[0]
	}
	if res.Problem != "" && opts.Trace != nil {
		opts.Trace(d.w.Dump())
	}
	res.Forced = d.forced
	res.Steps, res.Acked, res.Commits = d.steps, d.w.Acked(), d.w.history.commits
	return res
}

// peace ends all faults.
func (d *driver) peace() {
	w := d.w
	w.note("--- faults end")
	for len(w.Operators) > 1 {
		w.StopOperator(w.Operators[0])
	}
	if len(w.Operators) == 0 {
		w.NewOperator()
	}
	for _, a := range w.Members {
		a.CutOff, a.Deaf, a.Frozen, a.Stalled = false, false, false, false
		for _, b := range w.Members {
			w.CutMembers(a.Ordinal, b.Ordinal, false)
		}
	}
}

// settle runs fair rounds without faults until the leader says Healthy; it says whether that happened.
func (d *driver) settle(rounds int) bool {
	w := d.w
	for n := range rounds {
		d.round()
		if n%200 == 199 {
			d.user()
		}
		if len(w.Violations) > 0 {
			return false
		}
		o := w.Operators[len(w.Operators)-1]
		if o.Plan.State == topology.Healthy && w.healthy() {
			return true
		}
	}
	return false
}

// user does what a condition asks people to do.
func (d *driver) user() {
	w := d.w
	o := w.Operators[len(w.Operators)-1]
	for _, m := range w.Members {
		if m.ApplyError {
			w.note("user: mends the applier of %s", m.Name)
			m.ApplyError = false
		}
	}
	if o.Plan.State != topology.Waiting {
		return
	}
	switch {
	case w.Store.Manual:
		w.note("user: failover is automatic from now on")
		w.Store.Manual = false
	case strings.Contains(o.Plan.Why, "which data to go on with"):
		for _, name := range w.Store.Record.Voters {
			if m := w.member(name); m.Pod && w.holdsAcknowledged(m) {
				w.note("user: force the promotion of %s", name)
				w.Store.Request.ForcePromote = name
				d.forced++
				return
			}
		}
	}
}

// holdsAcknowledged says whether a member holds everything that clients were told is committed.
func (w *World) holdsAcknowledged(m *Member) bool {
	for id := range w.txs {
		if t := w.txs[id]; t.acked && !t.waived && !m.Volume.has[id] {
			return false
		}
	}
	return true
}

// round lets everybody do everything once, in an order left to chance.
func (d *driver) round() {
	w := d.w
	w.Kubernetes()
	for _, o := range w.Operators {
		o.Refresh()
		o.Decide()
		d.steps++
	}
	for _, i := range d.rng.Perm(len(w.Members)) {
		m := w.Members[i]
		d.steps++
		for range 4 {
			d.work(m)
		}
	}
	w.Tick(100 * time.Millisecond)
}

// work lets a member do everything it can do once.
func (d *driver) work(m *Member) {
	for _, o := range d.w.Operators {
		m.Send(o)
		m.Deliver(o)
		m.Receive(o)
		m.Receive(o)
	}
	m.StartServer()
	m.Step()
	m.Attach()
	for m.Fetch() {
		continue
	}
	m.Acknowledge()
	m.Apply(8)
	m.FinishClone()
}

// healthy says whether the world is as the user wants it.
func (w *World) healthy() bool {
	s := w.Store
	if len(s.Record.Voters) != s.Instances || s.Request != (topology.Request{}) {
		return false
	}
	for i, m := range w.Members {
		if i >= s.Instances {
			if m.Pod {
				return false
			}
			continue
		}
		if !m.Pod || m.Terminating || m.Template != s.Template || m.state != instance.StateRunning || m.config != fmt.Sprint(s.Config) {
			return false
		}
		if m.Name == s.Record.Primary != m.serving || m.Volume.waiting > 0 {
			return false
		}
	}
	return true
}

// step takes one step by chance.
func (d *driver) step() {
	w, rng := d.w, d.rng
	d.steps++
	n := rng.IntN(1000)
	for _, c := range []struct {
		weight int
		do     func()
	}{
		{d.mood.fault, d.fault},
		{d.mood.admin, d.admin},
		{d.mood.leaders, d.leader},
		{d.mood.losses, d.lose},
		{d.mood.errant, func() { d.any().WriteErrant() }},
		{d.mood.write, d.write},
		{d.mood.tick, func() { w.Tick(time.Duration(10+rng.IntN(490)) * time.Millisecond) }},
		{30, w.Kubernetes},
		{150, d.operate},
		{350, d.talk},
	} {
		if n < c.weight {
			c.do()
			return
		}
		n -= c.weight
	}
	d.mysql()
}

// any returns one of the members that are in play.
func (d *driver) any() *Member {
	return d.w.Members[d.rng.IntN(max(1, min(MaxMembers, max(d.w.Store.Pods, d.w.Store.Instances))))]
}

func (d *driver) write() {
	for _, m := range d.w.Members {
		if m.serving && d.rng.IntN(2) == 0 {
			m.Write()
		}
	}
}

func (d *driver) operate() {
	if len(d.w.Operators) == 0 {
		return
	}
	o := d.w.Operators[d.rng.IntN(len(d.w.Operators))]
	if d.mood.quick || d.rng.IntN(2) == 0 {
		o.Refresh()
	}
	o.Decide()
}

func (d *driver) talk() {
	if len(d.w.Operators) == 0 {
		return
	}
	m, o := d.any(), d.w.Operators[d.rng.IntN(len(d.w.Operators))]
	if d.mood.quick {
		m.Send(o)
		m.Deliver(o)
		m.Receive(o)
		m.Receive(o)
		m.Step()
		return
	}
	switch d.rng.IntN(4) {
	case 0:
		m.Send(o)
	case 1:
		m.Deliver(o)
	default:
		m.Receive(o)
	}
}

func (d *driver) mysql() {
	m := d.any()
	switch d.rng.IntN(9) {
	case 0:
		m.StartServer()
	case 1, 2:
		m.Step()
	case 3:
		m.Attach()
	case 4, 5:
		for range 1 + d.rng.IntN(3) {
			m.Fetch()
		}
	case 6:
		m.Acknowledge()
	case 7:
		m.Apply(1 + d.rng.IntN(4))
	case 8:
		m.FinishClone()
	}
}
