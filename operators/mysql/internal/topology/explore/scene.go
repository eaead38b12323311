package explore

import (
	"crypto/sha256"
	"slices"

	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology/model"
)

// Allowance is how often something may happen that comes from outside. What mends a fault costs nothing.
type Allowance struct {
	// Writes are clients' transactions, Faults what breaks, Leaders starts and ends of operators, Waits stretches of
	// time, Wishes what users ask for.
	Writes, Faults, Leaders, Waits, Wishes uint8
	// Delays is how often a move may be put off for a round, where moves have their turns.
	Delays uint8
}

// of returns what a kind of move is taken from, or nil if it is free.
func (a *Allowance) of(kind model.Kind) *uint8 {
	switch kind {
	case model.Write:
		return &a.Writes
	case model.WriteErrant, model.Kill, model.StopPod, model.LoseVolume, model.Cut, model.CutOff, model.Deafen, model.Freeze:
		return &a.Faults
	case model.Lead, model.Depose:
		return &a.Leaders
	case model.Second, model.Silence, model.Minute:
		return &a.Waits
	case model.AskAny, model.AskFor, model.Force, model.Grow, model.Shrink:
		return &a.Wishes
	default:
		return nil
	}
}

// scene is a world and what may still happen to it from outside.
type scene struct {
	world *model.World
	left  Allowance
	// turn is whose turn it is in the round.
	turn int16
}

func (s scene) clone() scene { return scene{world: s.world.Clone(), left: s.left, turn: s.turn} }

// seal adds what is not in the world to its fingerprint.
func (s scene) seal(mark [16]byte) [16]byte {
	l := s.left
	sum := sha256.Sum256(append(mark[:], l.Writes, l.Faults, l.Leaders, l.Waits, l.Wishes, l.Delays, byte(s.turn)))
	return [16]byte(sum[:16])
}

// allows says whether a move may be tried.
func (s scene) allows(move model.Move) bool {
	left := s.left
	if n := left.of(move.Kind); n != nil && *n == 0 {
		return false
	}
	if move.Kind.AboutOperator() {
		return slices.ContainsFunc(s.world.Operators, func(o *model.Operator) bool { return o.Term == move.Term })
	}
	return true
}

// take makes a step.
func (s *scene) take(r *run, next step) {
	s.world.Do(r.moves[next.move])
	s.spend(r, next)
}

// spend takes a step from the allowance, and passes the turn on if it was one's.
func (s *scene) spend(r *run, next step) {
	kind := r.moves[next.move].Kind
	if n := s.left.of(kind); n != nil {
		*n--
	}
	if len(r.turns) == 0 {
		return
	}
	s.left.Delays -= uint8(next.put) //nolint:gosec // Never more than are left.
	move := next.move
	if kind == model.Post {
		hear := r.moves[move]
		hear.Kind = model.Hear
		move = int16(slices.Index(r.moves, hear)) //nolint:gosec // A few dozen.
	}
	if i := slices.Index(r.turns, move); i >= 0 {
		s.turn = int16((i + 1) % len(r.turns)) //nolint:gosec // A few dozen.
	}
}

// violation returns the first promise that was broken on the way, or is broken now.
func (s scene) violation() string {
	if v := s.world.Violations; len(v) > 0 {
		return v[0]
	}
	return s.world.Standing()
}

// alphabet lists the moves of a situation: every kind with every member and operator that can take part.
func (s scene) alphabet(sit Situation) []model.Move {
	members := sit.Members
	terms := s.world.Store.Term + uint64(sit.Allowance.Leaders)
	var out []model.Move
	for _, kind := range sit.Moves {
		one := 1
		if kind.AboutMember() {
			one = members
		}
		for m := range one {
			switch {
			case kind.AboutTwo():
				for other := m + 1; other < members; other++ {
					out = append(out, model.Move{Kind: kind, Member: m, Other: other})
				}
			case kind.AboutOperator():
				for term := uint64(1); term <= terms; term++ {
					out = append(out, model.Move{Kind: kind, Member: m, Term: term})
				}
			default:
				out = append(out, model.Move{Kind: kind, Member: m})
			}
		}
	}
	return out
}

// begin builds the situation's world.
func (s Situation) begin(decision func(topology.Observation) topology.Plan) scene {
	w := model.New(s.Instances)
	s.Build(w)
	if decision != nil {
		w.Decision = decision
	}
	return scene{world: w, left: s.Allowance}
}
