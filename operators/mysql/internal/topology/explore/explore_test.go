package explore_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/topology/explore"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology/model"
)

var (
	situation = flag.String("explore.situation", "", "explore from this situation alone")
	path      = flag.String("explore.path", "", "replay these moves in the situation and print what happens")
	delays    = flag.Int("explore.delays", 0, "how often a move is put off in fair rounds; -1 tries all orders instead")
	depth     = flag.Int("explore.depth", 1000, "how many moves a path has at most")
	states    = flag.Int("explore.states", 3000, "how many states are looked at from each situation; the depth under way is finished")
	workers   = flag.Int("explore.workers", 2, "how many states are looked at side by side")
)

// The shipped decisions keep every promise, whatever the order.
func TestExplore(t *testing.T) {
	all := explore.Situations()
	if *situation != "" {
		s, err := explore.Named(*situation)
		if err != nil {
			t.Fatal(err)
		}
		all = []explore.Situation{s}
	}
	for _, s := range all {
		t.Run(s.Name, func(t *testing.T) {
			if s.ByTurns = *delays >= 0; s.ByTurns {
				s.Allowance.Delays = uint8(*delays)
			}
			search := explore.Search{Situation: s, Depth: *depth, States: *states, Workers: *workers, Audit: 500}
			if *path != "" {
				replay(t, search)
				return
			}
			try(t, search)
		})
	}
}

// All orders of the first few moves, where turns would never put that many of them off.
func TestExploreAllOrders(t *testing.T) {
	for _, s := range explore.Situations() {
		t.Run(s.Name, func(t *testing.T) {
			try(t, explore.Search{Situation: s, Depth: *depth, States: 500, Workers: *workers, Audit: 100})
		})
	}
}

func try(t *testing.T, search explore.Search) {
	t.Helper()
	began := time.Now()
	r := search.Run()
	took := time.Since(began)
	t.Logf("%-18s %8d states %9d transitions, depth %3d, complete %-5v, %d audited, %s", search.Situation.Name, r.States, r.Transitions,
		r.Depth, r.Complete, r.Audited, took.Round(time.Millisecond))
	if r.Unequal != "" {
		t.Error(r.Unequal)
	}
	if r.Violation != "" {
		t.Errorf("%s\n\tgo test ./internal/topology/explore -run 'TestExplore$' -v -explore.situation=%s -explore.path='%s'",
			r.Violation, search.Situation.Name, r.Path)
	}
}

// replay prints what happens along a path.
func replay(t *testing.T, search explore.Search) {
	moves, err := explore.ParsePath(*path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := search.Replay(moves, func(line string) { fmt.Println(line) })
	fmt.Println(w.Dump())
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range w.Violations {
		t.Error(problem)
	}
	if problem := w.Standing(); problem != "" {
		t.Error(problem)
	}
}

// A situation that did not come about would be explored in vain.
func TestSituationsAreWhatTheySay(t *testing.T) {
	type facts struct {
		epoch            uint64
		voters           int
		change, handover bool
		operators        int
	}
	for name, want := range map[string]facts{
		"three":              {1, 3, false, false, 1},
		"three-fine":         {1, 3, false, false, 1},
		"failover":           {1, 3, false, false, 1},
		"tail":               {2, 3, false, false, 1},
		"isolated":           {1, 3, false, false, 1},
		"fence":              {1, 3, false, false, 1},
		"outage":             {1, 3, false, false, 1},
		"two-lost":           {1, 2, true, false, 1},
		"add-second":         {1, 1, true, false, 1},
		"add-third":          {1, 2, true, false, 1},
		"remove-third":       {1, 3, true, false, 1},
		"remove-second":      {1, 2, true, false, 1},
		"switchover":         {1, 3, false, true, 1},
		"switchover-late":    {1, 2, false, true, 1},
		"rejoin":             {1, 2, false, false, 1},
		"founding":           {0, 0, false, false, 1},
		"deposed-failover":   {1, 2, false, false, 2},
		"deposed-add":        {1, 1, true, false, 2},
		"deposed-remove":     {1, 2, true, false, 2},
		"deposed-switchover": {1, 2, false, true, 2},
		"succession":         {1, 2, false, false, 1},
	} {
		s, err := explore.Named(name)
		if err != nil {
			t.Error(err)
			continue
		}
		w, err := explore.Search{Situation: s}.Replay(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := w.Store.Record
		got := facts{r.Epoch, len(r.Voters), r.Change != nil, r.Handover != nil, len(w.Operators)}
		if got != want {
			t.Errorf("%s begins with %+v, want %+v\n%s", name, got, want, w.Dump())
		}
	}
	if n := len(explore.Situations()); n != 21 {
		t.Errorf("there are %d situations; say above what each begins with", n)
	}
}

// A few states can be counted by hand; a search that loses some, or counts one twice, is seen here.
func TestSearchCountsWhatCanBeCounted(t *testing.T) {
	s, err := explore.Named("three")
	if err != nil {
		t.Fatal(err)
	}
	// Each of three members is killed or not: nothing else is possible.
	s.Moves, s.Allowance = []model.Kind{model.Kill}, explore.Allowance{Faults: 3}
	if r := (explore.Search{Situation: s, Depth: 10, States: 1000}).Run(); r.States != 8 || r.Transitions != 12 || !r.Complete {
		t.Errorf("%+v, want the 8 corners and 12 edges of a cube", r)
	}
	s.Allowance.Faults = 1
	if r := (explore.Search{Situation: s, Depth: 10, States: 1000}).Run(); r.States != 4 || !r.Complete {
		t.Errorf("%+v, want the beginning and three deaths", r)
	}
}
