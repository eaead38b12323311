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
	Forced int
	// Trimmed counts transactions that were removed from the binary log of a former primary.
	Trimmed int
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
	fault, write, tick, errant, losses, admin, leaders, operate, talk int
	// quick: messages and caches are fresh. focus: faults hit the primary and its links more often than the rest.
	quick, focus bool
	// wishes are what users ask for, faults what breaks; see admin and fault.
	wishes []wish
	faults []fault
}

// moods draws a mood: most runs have a theme, so that rare combinations come up within a run of bearable length.
func (d *driver) moods() mood {
	rng := d.rng
	m := mood{
		fault: 5 + rng.IntN(60), write: 20 + rng.IntN(150), tick: 10 + rng.IntN(60), admin: rng.IntN(15),
		operate: 100 + rng.IntN(150), talk: 250 + rng.IntN(200), quick: rng.IntN(2) == 0, focus: rng.IntN(2) == 0,
		wishes: allWishes(), faults: allFaults(),
	}
	switch rng.IntN(8) {
	case 0: // Switchovers over bad links, and kills.
		m.admin, m.wishes = 10+rng.IntN(20), []wish{wishSwitchover}
		m.faults = []fault{faultLink, faultLink, faultKill, faultHeal, faultKillPrimary, faultHear}
	case 1: // Growing and shrinking over bad links.
		m.admin, m.wishes = 10+rng.IntN(20), []wish{wishInstances}
		m.faults = []fault{faultLink, faultHear, faultHear, faultHeal, faultDisconnect, faultKillPrimary}
	case 2: // Leaders come and go, and some do not notice.
		m.leaders, m.operate = 5+rng.IntN(30), 250
		m.admin, m.wishes = 5+rng.IntN(20), []wish{wishSwitchover, wishInstances}
		m.faults = []fault{faultLink, faultHear, faultHeal, faultKillPrimary, faultKill}
	case 3: // Volumes are lost.
		m.losses = 1 + rng.IntN(5)
	case 4: // Somebody writes on replicas.
		m.errant = 1 + rng.IntN(5)
	case 5: // Kills only, much load.
		m.write, m.faults = 200, []fault{faultKill, faultKillPrimary, faultPod, faultOutage, faultHeal}
	case 6: // Everything.
		m.losses, m.errant, m.leaders = rng.IntN(3), rng.IntN(2), rng.IntN(8)
	}
	return m
}

// Run lets a world run by chance: faults first, then peace, in which it has to become healthy.
func Run(opts Options) Result {
	d := &driver{rng: rand.New(rand.NewPCG(opts.Seed, 1))} //nolint:gosec // Chance that can be repeated is what is wanted.
	d.w = New([]int{1, 2, 2, 3, 3, 3, 3, 4, 4, 5}[d.rng.IntN(10)])
	d.w.Trace = opts.Trace
	d.mood = d.moods()
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
	res.Forced, res.Trimmed = d.forced, d.w.Trimmed()
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
		if w.Healthy() {
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
	if strings.Contains(o.Plan.Why, "name it in the annotation force-promote") {
		w.note("user: force the promotion of %s", w.Store.Record.Primary)
		w.Store.Request.ForcePromote = w.Store.Record.Primary
		d.forced++
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

// round lets everybody do everything, in an order left to chance.
func (d *driver) round() { d.steps += d.w.Round(d.rng.Perm(len(d.w.Members))) }

// Round lets everybody do everything that can be done in a tenth of a second, the members in the given order or by
// ordinal. It returns how many of them did.
func (w *World) Round(order []int) int {
	if order == nil {
		order = []int{0, 1, 2, 3, 4, 5, 6, 7, 8}
	}
	steps := 0
	w.Kubernetes()
	for _, o := range w.Operators {
		o.Refresh()
		o.Decide()
		steps++
	}
	for _, i := range order {
		m := w.Members[i]
		if !m.Pod {
			continue
		}
		steps++
		for range 4 {
			w.work(m)
		}
	}
	w.Tick(100 * time.Millisecond)
	return steps
}

// Settle goes on by rounds until all is as the user wants it; it says whether that happened within so many.
func (w *World) Settle(rounds int) bool {
	for range rounds {
		w.Round(nil)
		if w.Healthy() {
			return true
		}
	}
	return false
}

// work lets a member do everything it can do once.
func (w *World) work(m *Member) {
	for _, o := range w.Operators {
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

// Healthy says whether the world is as the user wants it, and the leader says so.
func (w *World) Healthy() bool {
	s := w.Store
	if n := len(w.Operators); n == 0 || w.Operators[n-1].Plan.State != topology.Healthy {
		return false
	}
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
		{d.mood.operate, d.operate},
		{d.mood.talk, d.talk},
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

// victim returns the member that a fault hits.
func (d *driver) victim() *Member {
	if m := d.w.member(d.w.Store.Record.Primary); m != nil && d.mood.focus && d.rng.IntN(2) == 0 {
		return m
	}
	return d.any()
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
	// A leader that was deposed, or is about to be, sees old records for longer than others.
	lazy := 2
	if len(d.w.Operators) > 1 {
		lazy = 12
	}
	if d.mood.quick && len(d.w.Operators) == 1 || d.rng.IntN(lazy) == 0 {
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

// flow lets replication go on for a while, more or less.
func (d *driver) flow(m *Member) {
	m.StartServer()
	m.Step()
	m.Attach()
	for d.rng.IntN(4) > 0 && m.Fetch() {
		continue
	}
	if d.rng.IntN(4) > 0 {
		m.Acknowledge()
	}
	if d.rng.IntN(2) > 0 {
		m.Apply(1 + d.rng.IntN(8))
	}
}

func (d *driver) mysql() {
	if d.rng.IntN(2) == 0 {
		for _, m := range d.w.Members {
			if m.Pod {
				d.flow(m)
			}
		}
		return
	}
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
