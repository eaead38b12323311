package explore

import (
	"fmt"
	"slices"

	"github.com/kapok-operators/kapok/operators/mysql/internal/topology/model"
)

// Situation is where a search begins and what can happen from there.
type Situation struct {
	// Name is what it is called by, About what it is.
	Name, About string
	// Instances is how many the cluster has when it is founded, Members how many take part in all.
	Instances, Members int
	// Build brings the new world to where the search begins.
	Build func(*model.World)
	// Moves is the alphabet, Allowance how often what comes from outside may happen.
	Moves     []model.Kind
	Allowance Allowance
	// ByTurns lets the moves that do not come from outside be made in fair rounds, but for Allowance.Delays; else every order
	// is tried.
	ByTurns bool
}

// Usual are the moves that are always possible; see the package's documentation for what they run together.
func Usual(more ...model.Kind) []model.Kind {
	return append([]model.Kind{
		model.Decide, model.Hear, model.Post, model.Receive, model.Act, model.Start, model.Fetch, model.Acknowledge, model.FinishClone,
	}, more...)
}

// Fine are the same with every step of an agent by itself.
func Fine(more ...model.Kind) []model.Kind {
	return append([]model.Kind{
		model.Decide, model.Hear, model.Post, model.Receive, model.Step, model.Attach, model.Apply, model.Start, model.Fetch,
		model.Acknowledge, model.FinishClone,
	}, more...)
}

// Named returns the situation of a name.
func Named(name string) (Situation, error) {
	all := Situations()
	i := slices.IndexFunc(all, func(s Situation) bool { return s.Name == name })
	if i < 0 {
		return Situation{}, fmt.Errorf("there is no situation %q", name)
	}
	return all[i], nil
}

// Situations are the places from which the shipped decisions are explored.
func Situations() []Situation {
	return append(standing(), append(changing(), leaderless()...)...)
}

// standing are clusters that serve, or have just ceased to.
func standing() []Situation {
	return []Situation{
		{
			Name: "three", About: "three voters, all is well", Instances: 3, Members: 3, Build: stand,
			Moves: Usual(model.Write, model.Kill), Allowance: Allowance{Writes: 1, Faults: 1},
		},
		{
			Name: "three-fine", About: "the same, agents step by step", Instances: 3, Members: 3, Build: stand,
			Moves: Fine(model.Write, model.Kill), Allowance: Allowance{Writes: 1, Faults: 1},
		},
		{
			Name: "failover", About: "the primary of three was killed; what it wrote last is on one replica that had no time to say so",
			Instances: 3, Members: 3, Build: killed,
			Moves: Usual(model.Write, model.Kill), Allowance: Allowance{Writes: 1, Faults: 1},
		},
		{
			Name: "tail", About: "the old primary of three comes back with a write that nobody else has", Instances: 3, Members: 3, Build: tail,
			Moves: Usual(model.Write, model.Kill), Allowance: Allowance{Writes: 1, Faults: 1},
		},
		{
			Name: "isolated", About: "the primary of three is cut off from its replicas and its operator while it commits",
			Instances: 3, Members: 3, Build: isolated,
			Moves:     Usual(model.Write, model.Reach, model.Mend, model.Silence),
			Allowance: Allowance{Writes: 1, Waits: 1},
		},
		{
			Name: "fence", About: "the primary of three was frozen for four seconds and goes on when its replicas have just been told to let go of it",
			Instances: 3, Members: 3, Build: fencing,
			Moves: Usual(model.Write, model.Kill), Allowance: Allowance{Writes: 1, Faults: 1},
		},
		{
			Name: "outage", About: "all of three were killed while two writes were under way, one of them on no replica, and have started as they were", Instances: 3, Members: 3, Build: outage,
			Moves: Usual(model.Write, model.Kill), Allowance: Allowance{Writes: 1, Faults: 1},
		},
		{
			Name: "two-lost", About: "one of two voters was lost with a write under way and is to leave", Instances: 2, Members: 2, Build: twoLost,
			Moves: Usual(model.Write, model.Kill), Allowance: Allowance{Writes: 1, Faults: 1},
		},
	}
}

// changing are clusters whose primary or voters are being changed.
func changing() []Situation {
	return []Situation{
		{
			Name: "add-second", About: "a lone primary is about to get its first replica as a voter", Instances: 1, Members: 2, Build: growing,
			Moves: Usual(model.Write, model.Kill), Allowance: Allowance{Writes: 2, Faults: 1},
		},
		{
			Name: "add-third", About: "a third voter is about to enter", Instances: 2, Members: 3, Build: growing,
			Moves: Usual(model.Write, model.Kill), Allowance: Allowance{Writes: 1, Faults: 1},
		},
		{
			Name: "remove-third", About: "the third voter is about to leave", Instances: 3, Members: 3, Build: shrinking,
			Moves: Usual(model.Write, model.Kill), Allowance: Allowance{Writes: 1, Faults: 1},
		},
		{
			Name: "remove-second", About: "the second voter is about to leave", Instances: 2, Members: 2, Build: shrinking,
			Moves: Usual(model.Write, model.Kill), Allowance: Allowance{Writes: 2, Faults: 1},
		},
		{
			Name: "switchover", About: "the primary of three is being handed over", Instances: 3, Members: 3, Build: handingOver,
			Moves: Usual(model.Write, model.Kill), Allowance: Allowance{Writes: 1, Faults: 1},
		},
		{
			Name: "switchover-late", About: "a switchover of two that may be given up for lack of time", Instances: 2, Members: 2, Build: handingOver,
			Moves: Usual(model.Write, model.Kill, model.Silence), Allowance: Allowance{Writes: 1, Faults: 1, Waits: 1},
		},
		{
			Name: "rejoin", About: "a third member has lost its volume and comes back", Instances: 3, Members: 3, Build: rejoining,
			Moves: Usual(model.Write, model.Kill, model.Kubernetes), Allowance: Allowance{Writes: 1, Faults: 1},
		},
		{
			Name: "founding", About: "a cluster of two is being founded", Instances: 2, Members: 2, Build: func(*model.World) {},
			Moves: Usual(model.Write, model.Kill, model.Kubernetes), Allowance: Allowance{Writes: 1, Faults: 1},
		},
	}
}

// leaderless are situations in which an operator has been deposed and has not noticed.
func leaderless() []Situation {
	deposed := func(build func(*model.World)) func(*model.World) {
		return func(w *model.World) {
			build(w)
			w.NewOperator()
		}
	}
	moves := Usual(model.Write, model.Refresh)
	return []Situation{
		{
			Name: "deposed-failover", About: "a leader is deposed in the middle of a failover of two", Instances: 2, Members: 2, Build: deposed(killed),
			Moves: moves, Allowance: Allowance{Writes: 1},
		},
		{
			Name: "deposed-add", About: "a leader is deposed while the first replica becomes a voter; the next one has not noticed that it does",
			Instances: 1, Members: 2, Build: entering,
			Moves: moves, Allowance: Allowance{Writes: 2},
		},
		{
			Name: "deposed-remove", About: "a leader is deposed while the second voter leaves", Instances: 2, Members: 2, Build: deposed(shrinking),
			Moves: moves, Allowance: Allowance{Writes: 1},
		},
		{
			Name: "deposed-switchover", About: "a leader is deposed in the middle of a switchover of two", Instances: 2, Members: 2,
			Build: deposed(handingOver), Moves: moves, Allowance: Allowance{Writes: 1},
		},
		{
			Name: "succession", About: "two voters; a leader is deposed and the primary killed at any time", Instances: 2, Members: 2, Build: stand,
			Moves: Usual(model.Write, model.Refresh, model.Kill, model.Lead), Allowance: Allowance{Writes: 1, Faults: 1, Leaders: 1},
		},
	}
}
