package explore

import (
	"slices"

	"github.com/kapok-operators/kapok/operators/mysql/internal/topology/model"
)

// hasTurn says whether moves of a kind have their turn in a round. All others may come at any time: what comes from
// outside, and what takes as long as it takes, such as the start of a mysqld.
func hasTurn(kind model.Kind) bool {
	return kind <= model.Kubernetes && kind != model.Post && kind != model.Start && kind != model.FinishClone
}

// turns orders the moves of a round: first operators look and decide, then member after member hears what it is told,
// does it, and reports.
func turns(moves []model.Move) []int16 {
	order := []model.Kind{
		model.Kubernetes, model.Refresh, model.Decide, model.Receive, model.Step, model.Act, model.Attach, model.Fetch,
		model.Acknowledge, model.Apply, model.Hear,
	}
	var out []int16
	for i, move := range moves {
		if hasTurn(move.Kind) {
			out = append(out, int16(i)) //nolint:gosec // A few dozen.
		}
	}
	slices.SortStableFunc(out, func(a, b int16) int {
		x, y := moves[a], moves[b]
		if p, q := x.Kind.AboutMember(), y.Kind.AboutMember(); p != q {
			if p {
				return 1
			}
			return -1
		}
		switch {
		case x.Member != y.Member:
			return x.Member - y.Member
		case !x.Kind.AboutMember() && x.Term != y.Term:
			return int(x.Term) - int(y.Term) //nolint:gosec // A handful.
		}
		return slices.Index(order, x.Kind) - slices.Index(order, y.Kind)
	})
	return out
}

// attempt tries moves from one state.
type attempt struct {
	run   *run
	from  scene
	mark  [16]byte
	found []found
	// spare is a copy of the state that nothing has happened to yet.
	spare *scene
}

// try takes a step and keeps what follows. It says whether anything changed.
func (a *attempt) try(s step) bool {
	if !a.from.allows(a.run.moves[s.move]) {
		return false
	}
	if a.spare == nil {
		next := a.from.clone()
		a.spare = &next
	}
	if !a.spare.world.Do(a.run.moves[s.move]) {
		return false
	}
	mark := a.spare.world.Fingerprint()
	violation := a.spare.violation()
	if mark == a.mark && violation == "" {
		return false
	}
	next := a.spare
	a.spare = nil
	next.spend(a.run, s)
	a.found = append(a.found, found{step: s, mark: next.seal(mark), violation: violation, scene: *next})
	return true
}

// successors tries what may come next. What changes nothing is no transition.
func (r *run) successors(s scene) []found {
	a := attempt{run: r, from: s, mark: s.world.Fingerprint()}
	for i, move := range r.moves {
		if len(r.turns) == 0 || !hasTurn(move.Kind) && move.Kind != model.Post {
			a.try(step{move: int16(i)}) //nolint:gosec // A few dozen.
		}
	}
	a.byTurns()
	return a.found
}

// byTurns makes the next move of the round that changes anything, and the ones after it for as many of them as may be put
// off until the next round. A report may also be late: it is on its way during the next decision.
func (a *attempt) byTurns() {
	r := a.run
	for i, put := 0, 0; i < len(r.turns) && put <= int(a.from.left.Delays); i++ {
		move := r.turns[(int(a.from.turn)+i)%len(r.turns)]
		if !a.try(step{move: move, put: int16(put)}) { //nolint:gosec // A handful.
			continue
		}
		put++
		if put > int(a.from.left.Delays) || r.moves[move].Kind != model.Hear {
			continue
		}
		late := r.moves[move]
		late.Kind = model.Post
		if n := slices.Index(r.moves, late); n >= 0 {
			a.try(step{move: int16(n), put: int16(put)}) //nolint:gosec // A few dozen.
		}
	}
}
