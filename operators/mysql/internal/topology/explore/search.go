package explore

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology/model"
)

// Search is what to explore and how far.
type Search struct {
	// Situation is where it begins and what can happen.
	Situation Situation
	// Depth is how many moves a path has at most, States how many states are looked at: the search ends after the depth
	// in which they are exceeded.
	Depth, States int
	// Workers is how many states are looked at side by side. It changes nothing about the result.
	Workers int
	// Decision takes the place of topology.Decide, if not nil.
	Decision func(topology.Observation) topology.Plan
	// Audit, if not 0, tries every so many times that two ways lead to one state whether the same follows from both.
	Audit int
}

// Result is what came of a search.
type Result struct {
	// States were reached, by Transitions moves that changed something, in at most Depth moves.
	States, Transitions, Depth int
	// Complete: nothing is left to try.
	Complete bool
	// Violation is the first broken promise, Path one of the shortest ways to it.
	Violation string
	Path      Path
	// Audited counts the states of which it was tried whether they are one. Unequal says where that failed.
	Audited int
	Unequal string
}

// Path is a sequence of moves.
type Path []model.Move

// String writes a path in a way that ParsePath reads.
func (p Path) String() string {
	words := make([]string, len(p))
	for i, move := range p {
		words[i] = move.String()
	}
	return strings.Join(words, " ")
}

// ParsePath reads what String writes.
func ParsePath(text string) (Path, error) {
	var p Path
	for word := range strings.FieldsSeq(text) {
		move, err := model.ParseMove(word)
		if err != nil {
			return nil, fmt.Errorf("path: %w", err)
		}
		p = append(p, move)
	}
	return p, nil
}

// node is a state that was reached: from which one, by which step.
type node struct {
	parent int32
	step   step
}

// step is a move by its place in the alphabet, and how many moves were put off for it.
type step struct {
	move int16
	put  int16
}

// found is what one step led to.
type found struct {
	mark      [16]byte
	step      step
	violation string
	scene     scene
}

const (
	// batch is how many states are looked at before what was found is sorted in.
	batch = 512
	// kept is how many states of a depth are kept as they are; the others are made again from their paths when their time
	// comes. A search with many turns is deep and thin, one of all orders broad.
	kept = 4096
)

// run is a search under way.
type run struct {
	Search
	begin scene
	moves []model.Move
	// turns are the places of the moves that have their turn, in order; empty if every order is tried.
	turns []int16
	// nodes are all states, in the order in which they were reached; the first one is the beginning.
	nodes  []node
	known  map[[16]byte]int32
	trails []trail
	// now and next are the states that are kept of the depth under way and of the one after it.
	now, next map[int32]scene
	result    Result
	twice     int
}

// Run explores.
func (s Search) Run() Result {
	r := &run{Search: s, begin: s.Situation.begin(s.Decision), known: map[[16]byte]int32{}}
	r.moves = r.begin.alphabet(s.Situation)
	if s.Situation.ByTurns {
		r.turns = turns(r.moves)
	}
	r.trails = make([]trail, max(1, s.Workers))
	r.nodes = []node{{parent: -1}}
	r.known[r.begin.seal(r.begin.world.Fingerprint())] = 0
	r.result.Violation = r.begin.violation()
	for first := 0; ; {
		end := len(r.nodes)
		if first == end {
			r.result.Complete = true
			break
		}
		if r.result.Violation != "" || r.result.Unequal != "" || r.result.Depth >= s.Depth || end >= s.States {
			break
		}
		r.result.Depth++
		r.now, r.next = r.next, map[int32]scene{}
		for ; first < end; first += batch {
			if r.expand(first, min(first+batch, end)); r.result.Violation != "" || r.result.Unequal != "" {
				break
			}
		}
		first = end
	}
	r.result.States = len(r.nodes)
	return r.result
}

// expand looks at the states from first up to, not including, end.
func (r *run) expand(first, end int) {
	out := make([][]found, end-first)
	var wait sync.WaitGroup
	part := (end - first + len(r.trails) - 1) / len(r.trails)
	for i := range r.trails {
		from, to := first+i*part, min(first+(i+1)*part, end)
		wait.Go(func() {
			for n := from; n < to; n++ {
				out[n-first] = r.successors(r.scene(&r.trails[i], int32(n))) //nolint:gosec // Memory ends long before.
			}
		})
	}
	wait.Wait()
	for i, list := range out {
		if !r.take(int32(first+i), list) { //nolint:gosec // As above.
			return
		}
	}
}

// scene returns the scene of a state. It must not be changed.
func (r *run) scene(t *trail, n int32) scene {
	if s, ok := r.now[n]; ok {
		return s
	}
	return t.to(r, n)
}

// take sorts in what follows from a state. It says whether to go on.
func (r *run) take(parent int32, list []found) bool {
	for _, f := range list {
		r.result.Transitions++
		if f.violation != "" {
			r.result.Violation = f.violation
			r.result.Path = append(r.path(parent), r.moves[f.step.move])
			return false
		}
		known, ok := r.known[f.mark]
		if !ok {
			n := int32(len(r.nodes)) //nolint:gosec // As above.
			r.known[f.mark] = n
			if len(r.next) < kept {
				r.next[n] = f.scene
			}
			r.nodes = append(r.nodes, node{parent: parent, step: f.step})
			continue
		}
		if r.twice++; r.Audit > 0 && r.twice%r.Audit == 0 {
			if r.audit(known, parent, f.step); r.result.Unequal != "" {
				return false
			}
		}
	}
	return true
}

// path returns the moves that lead to a state.
func (r *run) path(n int32) Path {
	var p Path
	for ; r.nodes[n].parent >= 0; n = r.nodes[n].parent {
		p = append(p, r.moves[r.nodes[n].step.move])
	}
	for i, j := 0, len(p)-1; i < j; i, j = i+1, j-1 {
		p[i], p[j] = p[j], p[i]
	}
	return p
}

// audit looks whether the same follows from a state as it was first reached and as it was reached again.
func (r *run) audit(known, parent int32, last step) {
	var first, again trail
	a := r.successors(first.to(r, known))
	s := again.to(r, parent).clone()
	s.take(r, last)
	b := r.successors(s)
	r.result.Audited++
	same := len(a) == len(b)
	for i := 0; same && i < len(a); i++ {
		same = a[i].step == b[i].step && a[i].mark == b[i].mark && a[i].violation == b[i].violation
	}
	if !same {
		r.result.Unequal = fmt.Sprintf("two ways lead to one fingerprint, and not the same follows:\n%s\n%s",
			r.path(known), append(r.path(parent), r.moves[last.move]))
	}
}

// trail is the way to a state, with the worlds along it: the next state that is asked for mostly shares most of it.
type trail struct {
	nodes  []int32
	scenes []scene
}

// to returns the scene of a state.
func (t *trail) to(r *run, n int32) scene {
	var missing []int32
	for ; ; n = r.nodes[n].parent {
		if depth := r.depthIn(t, n); depth >= 0 {
			t.nodes, t.scenes = t.nodes[:depth+1], t.scenes[:depth+1]
			break
		}
		missing = append(missing, n)
		if r.nodes[n].parent < 0 {
			t.nodes, t.scenes = nil, nil
			break
		}
	}
	for _, m := range slices.Backward(missing) {
		s := r.begin
		if len(t.scenes) > 0 {
			s = t.scenes[len(t.scenes)-1].clone()
			s.take(r, r.nodes[m].step)
		}
		t.nodes, t.scenes = append(t.nodes, m), append(t.scenes, s)
	}
	return t.scenes[len(t.scenes)-1]
}

// depthIn returns where on the trail a state is, or -1.
func (r *run) depthIn(t *trail, n int32) int {
	for i, v := range slices.Backward(t.nodes) {
		if v == n {
			return i
		}
	}
	return -1
}

// Replay makes the moves of a path and returns the world, or an error if one of them is impossible.
func (s Search) Replay(path Path, trace func(string)) (*model.World, error) {
	b := s.Situation.begin(s.Decision)
	b.world.Trace = trace
	for i, move := range path {
		if !b.allows(move) || !b.world.Do(move) {
			return b.world, fmt.Errorf("move %d, %s, is not possible there", i+1, move)
		}
		if b.violation() != "" {
			break
		}
	}
	return b.world, nil
}
