package explore_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology/explore"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology/model"
)

// bug is a mistake planted around the real decision.
type bug struct {
	name, situation string
	// breaks is the invariant that the explorer has to see broken, or several that would do.
	breaks []string
	// delays is how often a move is put off.
	delays uint8
	decide func(topology.Observation) topology.Plan
}

func bugs() []bug {
	return []bug{
		{"promotes without a fence", "three", []string{"I3", "I2"}, 0, func(o topology.Observation) topology.Plan {
			return promoting(o, 0, func(m *topology.Member) bool { return m.Name == "db-2" })
		}},
		{"asks one voter less than the read quorum", "three", []string{"I3", "I2"}, 1, func(o topology.Observation) topology.Plan {
			return promoting(o, topology.ReadQuorum(len(o.Record.Voters))-1, func(m *topology.Member) bool { return fenced(o, m) })
		}},
		{"takes the promise for the deed", "fence", []string{"I3", "I2"}, 3, func(o topology.Observation) topology.Plan {
			return topology.Decide(changed(o, func(r *instance.Report) {
				if r.Promised > o.Record.Epoch && r.State == instance.StateRunning {
					r.Role, r.Epoch, r.Receiver.Running = instance.RoleStandby, r.Promised, false
				}
			}))
		}},
		{"commits a larger voter set at once", "add-second", []string{"I2"}, 1, func(o topology.Observation) topology.Plan {
			return changing(o, func(c *instance.VoterChange) []string {
				if c.Add == "" {
					return nil
				}
				out := append(slices.Clone(o.Record.Voters), c.Add)
				slices.Sort(out)
				return out
			})
		}},
		{"commits a smaller voter set at once", "remove-third", []string{"I2"}, 2, func(o topology.Observation) topology.Plan {
			return changing(o, func(c *instance.VoterChange) []string {
				return slices.DeleteFunc(slices.Clone(o.Record.Voters), func(name string) bool { return name == c.Remove })
			})
		}},
		{"lets a member acknowledge that does not vote", "add-third", []string{"I2"}, 2, func(o topology.Observation) topology.Plan {
			return directing(o, func(d *instance.Directive) {
				if d.Replica != nil {
					d.Replica.Acknowledge = true
				}
			})
		}},
		{"asks for one acknowledgement less", "three", []string{"I2"}, 2, func(o topology.Observation) topology.Plan {
			return directing(o, func(d *instance.Directive) {
				if d.Primary != nil {
					d.Primary.Acks = max(0, d.Primary.Acks-1)
				}
			})
		}},
		{"opens before the tail is on a write quorum", "two-lost", []string{"I7"}, 0, func(o topology.Observation) topology.Plan {
			return directing(o, func(d *instance.Directive) {
				if d.Primary != nil && d.Role == instance.RolePrimary {
					d.Primary.Serve = true
				}
			})
		}},
		{"takes up again an addition that was taken back", "add-second", []string{"I2"}, 1, func(o topology.Observation) topology.Plan {
			o.Doomed = false
			return topology.Decide(o)
		}},
		{"does not see that another one leads", "deposed-add", []string{"I2", "I3", "I11"}, 2, unaware},
	}
}

// unaware decides as if it had never been deposed, and as if nobody had to take over.
func unaware(o topology.Observation) topology.Plan {
	was := o.Record
	o.Record.Term = o.Term
	plan := topology.Decide(o)
	if plan.Commit != nil {
		plan.Commit.From = was
	}
	return plan
}

// changed returns the observation with other reports.
func changed(o topology.Observation, change func(*instance.Report)) topology.Observation {
	o.Members = slices.Clone(o.Members)
	for i := range o.Members {
		if m := &o.Members[i]; m.Report != nil {
			r := *m.Report
			change(&r)
			m.Report = &r
		}
	}
	return o
}

// directing changes directives.
func directing(o topology.Observation, change func(*instance.Directive)) topology.Plan {
	plan := topology.Decide(o)
	for i := range plan.Directives {
		d := &plan.Directives[i].Directive
		if d.Primary != nil {
			duty := *d.Primary
			d.Primary = &duty
		}
		if d.Replica != nil {
			duty := *d.Replica
			d.Replica = &duty
		}
		change(d)
		*d = d.WithID()
	}
	return plan
}

// changing completes a voter change whatever was reported.
func changing(o topology.Observation, voters func(*instance.VoterChange) []string) topology.Plan {
	plan := topology.Decide(o)
	if o.Record.Change == nil || plan.Commit != nil {
		return plan
	}
	to := o.Record
	if to.Voters = voters(o.Record.Change); to.Voters == nil {
		return plan
	}
	to.Change = nil
	return committing(o, plan, topology.CommitVoters, to)
}

// promoting makes the first of those that will do the primary, once there are so many of them.
func promoting(o topology.Observation, enough int, do func(*topology.Member) bool) topology.Plan {
	plan := topology.Decide(o)
	if plan.Commit != nil || plan.State != topology.FailingOver && plan.State != topology.Waiting {
		return plan
	}
	var list []*topology.Member
	for i := range o.Members {
		if m := &o.Members[i]; m.Connected && m.Report != nil && m.Report.State == instance.StateRunning && do(m) {
			list = append(list, m)
		}
	}
	if len(list) == 0 || len(list) < enough {
		return plan
	}
	epoch := o.Record.Epoch + 1
	for _, m := range list {
		epoch = max(epoch, m.Report.Promised)
	}
	return committing(o, plan, topology.CommitPromote,
		instance.Record{Epoch: epoch, Term: o.Term, Primary: list[0].Name, Voters: o.Record.Voters})
}

func fenced(o topology.Observation, m *topology.Member) bool {
	return m.Report.Role == instance.RoleStandby && m.Report.Promised > o.Record.Epoch && m.Report.Epoch == m.Report.Promised
}

func committing(o topology.Observation, plan topology.Plan, kind topology.CommitKind, to instance.Record) topology.Plan {
	plan.Directives, plan.Delete, plan.Done = nil, nil, nil
	plan.Commit = &topology.Commit{From: o.Record, To: to, Kind: kind, Why: "a planted bug"}
	return plan
}

// An explorer that finds nothing may look at nothing. Each of these is found, and the way to it is one that can be
// replayed.
func TestPlantedBugsAreFound(t *testing.T) {
	for _, b := range bugs() {
		t.Run(b.name, func(t *testing.T) {
			s, err := explore.Named(b.situation)
			if err != nil {
				t.Fatal(err)
			}
			s.ByTurns, s.Allowance.Delays = true, b.delays
			search := explore.Search{Situation: s, Depth: 100, States: 100_000, Workers: *workers, Decision: b.decide}
			r := search.Run()
			if !slices.ContainsFunc(b.breaks, func(i string) bool { return strings.HasPrefix(r.Violation, i+":") }) {
				t.Fatalf("found %q among %d states, depth %d, complete: %v; want one of %v\n%s", r.Violation, r.States, r.Depth, r.Complete, b.breaks, r.Path)
			}
			t.Logf("found at depth %d, among %d states: %s\n%s", len(r.Path), r.States, r.Violation, r.Path)
			w, err := search.Replay(r.Path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if w.Standing() == "" && len(w.Violations) == 0 {
				t.Error("the path does not lead there when it is replayed")
			}
			if _, err := explore.ParsePath(r.Path.String()); err != nil {
				t.Error(err)
			}
		})
	}
}

// The real decision keeps its promises along a path on which it would be easy to break them.
func TestReplayRefusesWhatIsImpossible(t *testing.T) {
	s, err := explore.Named("three")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (explore.Search{Situation: s}).Replay(explore.Path{{Kind: model.FinishClone}}, nil); err == nil {
		t.Error("nobody clones, and yet one is finished")
	}
}
