package explore

import (
	"slices"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/topology/model"
)

// What brings a world to where a search begins. It goes on by fair rounds, and by single moves where that would be too
// much; whatever does not come about is seen by TestSituationsAreWhatTheySay.

// patience is how many rounds of a tenth of a second a step of building may take.
const patience = 1500

// stand lets the cluster come to be, and makes a first write, so that the members hold something. Then it lets a minute
// pass, so that nothing in the world is younger than the longest deadline.
func stand(w *model.World) {
	w.Settle(patience)
	w.Members[0].Write()
	for range 65 {
		w.Tick(900 * time.Millisecond)
		w.Round(nil)
	}
}

// until goes on by rounds until something is so.
func until(w *model.World, so func() bool) {
	for n := 0; n < patience && !so(); n++ {
		w.Round(nil)
	}
}

// written makes a write that the second member has fetched and not acknowledged.
func written(w *model.World) {
	w.Members[0].Write()
	w.Members[1].Fetch()
}

// tell lets the leader know how a member is now.
func tell(w *model.World, m *model.Member) {
	o := w.Operators[len(w.Operators)-1]
	m.Send(o)
	m.Deliver(o)
}

func killed(w *model.World) {
	stand(w)
	written(w)
	w.Members[0].KillServer("the situation")
	tell(w, w.Members[0])
}

func outage(w *model.World) {
	stand(w)
	written(w)
	// One more, which nobody else has.
	w.Members[0].Write()
	for _, m := range w.Members {
		m.KillServer("the situation")
	}
	// A former primary waits a moment to be told what another one holds, before it starts as it was.
	w.Tick(3 * time.Second)
	for _, m := range w.Members {
		m.StartServer()
		if m.Pod {
			tell(w, m)
		}
	}
}

func tail(w *model.World) {
	stand(w)
	old := w.Members[0]
	old.Write()
	old.KillServer("the situation")
	old.Ill = true
	until(w, func() bool { return w.Store.Record.Primary != old.Name && w.Acked() > 0 && serves(w) })
	for range 5 {
		w.Round(nil)
	}
	old.Ill = false
}

// serves says whether the committed primary serves.
func serves(w *model.World) bool {
	i := slices.IndexFunc(w.Members, func(m *model.Member) bool { return m.Name == w.Store.Record.Primary })
	return i >= 0 && w.Members[i].Pod && w.Members[i].Report().Serving
}

func isolated(w *model.World) {
	stand(w)
	written(w)
	p := w.Members[0]
	for _, other := range w.Members[1:3] {
		w.CutMembers(p.Ordinal, other.Ordinal, true)
	}
	p.CutOff, p.Deaf = true, true
}

func twoLost(w *model.World) {
	stand(w)
	written(w)
	lost := w.Members[1]
	lost.KillServer("the situation")
	lost.Ill = true
	until(w, func() bool { return w.Store.Record.Change != nil })
	lost.Ill = false
}

func growing(w *model.World) {
	stand(w)
	w.Store.Instances++
	until(w, func() bool { return w.Store.Record.Change != nil })
}

// entering is a first replica that acknowledges and is about to be counted, and a second leader that read the record
// before.
func entering(w *model.World) {
	growing(w)
	p := w.Members[0]
	until(w, func() bool { return p.Report().Acks == 1 })
	latest := w.Store.Record
	w.Store.Record.Change = nil
	w.NewOperator()
	w.Store.Record = latest
}

// fencing is a primary that was frozen for so long that it is given up, and goes on when its replicas have been told to
// let go of it and have not done so yet.
func fencing(w *model.World) {
	stand(w)
	p := w.Members[0]
	p.CutOff, p.Deaf = true, true
	w.Tick(500 * time.Millisecond)
	p.Frozen = true
	w.Tick(3600 * time.Millisecond)
	for range 2 {
		tell(w, w.Members[1])
		tell(w, w.Members[2])
		w.Operators[0].Decide()
	}
	p.Frozen = false
}

func shrinking(w *model.World) {
	stand(w)
	w.Store.Instances--
	until(w, func() bool { return w.Store.Record.Change != nil })
	written(w)
}

func handingOver(w *model.World) {
	stand(w)
	written(w)
	w.Store.Request.Switchover = "any"
	o := w.Operators[0]
	o.Refresh()
	o.Decide()
}

func rejoining(w *model.World) {
	stand(w)
	w.Members[2].LoseVolume()
	until(w, func() bool { return len(w.Store.Record.Voters) == 2 })
}
