package topology_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology/model"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// transcript tells what the leader decides in a world, as prose: every state, every commit, and every directive that is
// another one than before.
type transcript struct {
	t    *testing.T
	w    *model.World
	text strings.Builder
	said map[string]string
}

// tell starts a world with so many instances wanted.
func tell(t *testing.T, instances int) *transcript {
	s := &transcript{t: t, w: model.New(instances), said: map[string]string{}}
	s.w.Watch = s.watch
	return s
}

// say adds a line about what happens to the world.
func (s *transcript) say(format string, args ...any) {
	fmt.Fprintf(&s.text, "\n# "+format+"\n", args...)
}

// healthy lets the world go on until it is healthy.
func (s *transcript) healthy() {
	s.t.Helper()
	if !s.w.Settle(900) {
		s.t.Errorf("not healthy in the end:\n%s", s.w.Dump())
	}
}

// rounds lets the world go on for so many tenths of a second.
func (s *transcript) rounds(n int) {
	for range n {
		s.w.Round(nil)
	}
}

// once adds a line if it is not what was said last about the subject.
func (s *transcript) once(subject, line string) {
	if s.said[subject] == line {
		return
	}
	s.said[subject] = line
	if line != "" {
		s.text.WriteString(line + "\n")
	}
}

func (s *transcript) watch(o *model.Operator, obs topology.Observation, plan topology.Plan) {
	state := string(plan.State) + ": " + plan.Why
	if plan.State == topology.Healthy && plan.Why == "" {
		state = "Healthy"
	}
	s.once("state", state)
	for _, done := range plan.Done {
		line := "  request " + string(done.Request) + " is fulfilled"
		if done.Refused != "" {
			line = "  request " + string(done.Request) + " is refused: " + done.Refused
		}
		s.text.WriteString(line + "\n")
	}
	if c := plan.Commit; c != nil {
		fmt.Fprintf(&s.text, "  commit %s: %s\n         %s\n", c.Kind, c.Why, record(c.To))
		return
	}
	for _, d := range plan.Directives {
		s.once(d.Member, "  "+d.Member+" "+directive(d))
	}
	if e := plan.Endpoints; e.ReadWrite != "" {
		s.once("endpoints", fmt.Sprintf("  clients write to %s, read from %s", e.ReadWrite, names(e.ReadOnly)))
	}
	if plan.Delete != nil {
		fmt.Fprintf(&s.text, "  delete pod %s: %s\n", plan.Delete.Member, plan.Delete.Why)
	}
	s.once("pods", fmt.Sprintf("  %d pods", plan.Replicas))
}

func names(list []string) string {
	if len(list) == 0 {
		return "nobody"
	}
	return strings.Join(list, ", ")
}

func record(r instance.Record) string {
	out := fmt.Sprintf("epoch %d, primary %s, voters %s", r.Epoch, r.Primary, names(r.Voters))
	if c := r.Change; c != nil {
		out += ", adding " + c.Add
		if c.Remove != "" {
			out = strings.TrimSuffix(out, ", adding ") + ", removing " + c.Remove
		}
	}
	if h := r.Handover; h != nil {
		out += ", handing over to " + h.To
		if h.GivenUp {
			out += " (given up)"
		}
	}
	return out
}

func directive(d topology.Direct) string {
	x := d.Directive
	out := fmt.Sprintf("%s in epoch %d", x.Role, x.Epoch)
	switch {
	case x.Primary != nil:
		admitted := make([]string, 0, len(x.Primary.Admitted))
		for _, p := range x.Primary.Admitted {
			admitted = append(admitted, p.Name)
		}
		out += fmt.Sprintf(", %d acks, admits %s", x.Primary.Acks, names(admitted))
		if x.Primary.Serve {
			out += ", serves"
		}
		if x.Primary.Bootstrap {
			out += ", bootstraps"
		}
	case x.Replica != nil:
		out += " of " + x.Replica.Source.Name
		if x.Replica.Acknowledge {
			out += ", acknowledges"
		}
	case x.Clone != nil:
		out += " of " + x.Clone.Source.Name
	}
	if x.Rejoin != nil {
		out += ", to rejoin " + x.Rejoin.Source
	}
	if x.Restart {
		out += ", may restart"
	}
	return out + " (" + d.Why + ")"
}

// scenarios are the stories that the golden files tell.
var scenarios = map[string]func(t *testing.T) *transcript{
	"bootstrap-of-three": func(t *testing.T) *transcript {
		s := tell(t, 3)
		s.say("three instances are wanted; nothing is there: founding, joining by clone, voters 1, 2, 3")
		s.healthy()
		return s
	},
	"bootstrap-of-one": func(t *testing.T) *transcript {
		s := tell(t, 1)
		s.say("one instance is wanted")
		s.healthy()
		return s
	},
	"kill-of-primary-three": func(t *testing.T) *transcript { return killed(t, 3) },
	"kill-of-primary-two":   func(t *testing.T) *transcript { return killed(t, 2) },
	"kill-of-primary-one":   func(t *testing.T) *transcript { return killed(t, 1) },
	"two-lose-a-volume": func(t *testing.T) *transcript {
		s := standing(t, 2)
		s.say("the primary's volume is lost; its pod comes back with an empty one")
		primary(s.w).LoseVolume()
		s.healthy()
		return s
	},
	"silent-primary-with-quorum": func(t *testing.T) *transcript {
		s := standing(t, 3)
		s.say("the operator hears nothing from the primary any more; its voters do")
		primary(s.w).CutOff, primary(s.w).Deaf = true, true
		s.rounds(100)
		s.say("the operator hears it again")
		primary(s.w).CutOff, primary(s.w).Deaf = false, false
		s.healthy()
		return s
	},
	"silent-primary-without-quorum": func(t *testing.T) *transcript {
		s := standing(t, 3)
		s.say("the primary's node is cut off from everybody, with writes waiting")
		p := primary(s.w)
		isolate(s.w, p, true)
		p.Write()
		s.rounds(120)
		s.say("the node is back")
		isolate(s.w, p, false)
		s.healthy()
		return s
	},
	"total-outage": func(t *testing.T) *transcript {
		s := standing(t, 3)
		s.say("all mysqlds are killed under load; the old primary comes back last, after five seconds")
		p := primary(s.w)
		p.Write()
		for _, m := range s.w.Members[:3] {
			m.KillServer("outage")
		}
		p.Frozen = true
		s.rounds(50)
		s.say("the old primary is back")
		p.Frozen = false
		s.healthy()
		return s
	},
	"errant-replica": func(t *testing.T) *transcript {
		s := standing(t, 3)
		s.say("somebody writes on a replica")
		s.w.Members[2].WriteErrant()
		s.rounds(3)
		s.healthy()
		return s
	},
	"switchover": func(t *testing.T) *transcript {
		s := standing(t, 3)
		s.say("a switchover to db-2 is asked for")
		s.w.Store.Request.Switchover = "db-2"
		s.healthy()
		s.say("a switchover to an instance that does not exist is asked for")
		s.w.Store.Request.Switchover = "db-7"
		s.healthy()
		return s
	},
	"switchover-given-up": func(t *testing.T) *transcript {
		s := standing(t, 3)
		s.say("a switchover to db-2 is asked for, but db-2 hangs from then on")
		s.w.Store.Request.Switchover = "db-2"
		s.rounds(1)
		s.w.Members[2].Stalled = true
		primary(s.w).Write()
		s.w.CutMembers(primary(s.w).Ordinal, 2, true)
		primary(s.w).Write()
		s.rounds(60)
		s.say("db-2 is well again")
		s.w.Members[2].Stalled = false
		s.w.CutMembers(primary(s.w).Ordinal, 2, false)
		s.healthy()
		return s
	},
	"scale-three-five-two": func(t *testing.T) *transcript {
		s := standing(t, 3)
		s.say("five instances are wanted")
		s.w.Store.Instances = 5
		s.healthy()
		s.say("two instances are wanted")
		s.w.Store.Instances = 2
		s.healthy()
		return s
	},
	"rolling-pods": func(t *testing.T) *transcript {
		s := standing(t, 3)
		s.say("the pods' template changes")
		s.w.Store.Template++
		s.healthy()
		return s
	},
	"configuration-restart": func(t *testing.T) *transcript {
		s := standing(t, 3)
		s.say("the configuration changes in a way that needs a restart")
		s.w.Store.Config++
		s.healthy()
		return s
	},
	"adoption-of-kept-volumes": func(t *testing.T) *transcript {
		s := standing(t, 3)
		s.say("the custom resource is deleted and made again; the volumes were kept; db-2 comes back last")
		recreate(s.w)
		s.w.Members[2].Stalled = true
		isolate(s.w, s.w.Members[2], true)
		s.rounds(5)
		s.say("db-2 reports")
		s.w.Members[2].Stalled = false
		isolate(s.w, s.w.Members[2], false)
		s.healthy()
		return s
	},
	"forced-promotion": func(t *testing.T) *transcript {
		s := standing(t, 3)
		s.say("two of three volumes are lost at once, the primary's among them")
		p := primary(s.w)
		survivor := s.w.Members[0]
		for _, m := range s.w.Members[:3] {
			if m == p || m.Ordinal == 2 {
				m.LoseVolume()
			} else {
				survivor = m
			}
		}
		s.rounds(60)
		s.say("a promotion of %s is forced", survivor.Name)
		s.w.Store.Request.ForcePromote = survivor.Name
		s.healthy()
		return s
	},
	"renewed-epoch": func(t *testing.T) *transcript {
		s := standing(t, 3)
		s.say("the operator hears neither the primary nor db-1 for some seconds, and db-2 does not hear the primary")
		p := primary(s.w)
		other := s.w.Members[1]
		for _, m := range []*model.Member{p, other} {
			m.CutOff, m.Deaf = true, true
		}
		s.w.CutMembers(p.Ordinal, 2, true)
		s.rounds(60)
		s.say("all is mended")
		for _, m := range []*model.Member{p, other} {
			m.CutOff, m.Deaf = false, false
		}
		s.w.CutMembers(p.Ordinal, 2, false)
		s.healthy()
		return s
	},
	"manual-failover": func(t *testing.T) *transcript {
		s := standing(t, 3)
		s.w.Store.Manual = true
		s.say("failover is manual, and the primary's node is lost")
		p := primary(s.w)
		isolate(s.w, p, true)
		s.rounds(60)
		s.say("a switchover is asked for")
		s.w.Store.Request.Switchover = topology.AnyInstance
		s.rounds(30)
		s.say("the node is back")
		isolate(s.w, p, false)
		s.healthy()
		return s
	},
	"new-leader": func(t *testing.T) *transcript {
		s := standing(t, 3)
		s.say("the operator is replaced by another one")
		s.w.NewOperator()
		s.w.StopOperator(s.w.Operators[0])
		s.healthy()
		return s
	},
}

// standing tells of a world only from the moment at which it is healthy.
func standing(t *testing.T, instances int) *transcript {
	t.Helper()
	s := tell(t, instances)
	s.healthy()
	primary(s.w).Write()
	s.rounds(3)
	s.text.Reset()
	return s
}

func killed(t *testing.T, instances int) *transcript {
	s := standing(t, instances)
	s.say("mysqld of the primary is killed under load and comes back after half a second")
	p := primary(s.w)
	p.Write()
	p.KillServer("fault")
	p.Ill = true
	s.rounds(5)
	s.say("mysqld is back")
	p.Ill = false
	s.healthy()
	return s
}

// primary returns the member that the record names.
func primary(w *model.World) *model.Member {
	i := slices.IndexFunc(w.Members, func(m *model.Member) bool { return m.Name == w.Store.Record.Primary })
	return w.Members[i]
}

// isolate cuts a member off from everybody, or mends that.
func isolate(w *model.World, m *model.Member, cut bool) {
	m.CutOff, m.Deaf = cut, cut
	for _, other := range w.Members {
		if other != m {
			w.CutMembers(m.Ordinal, other.Ordinal, cut)
			w.CutMembers(other.Ordinal, m.Ordinal, cut)
		}
	}
}

// recreate deletes the custom resource and makes it again over the volumes.
func recreate(w *model.World) {
	for _, m := range w.Members {
		m.StopPod()
		if m.Volume != nil {
			m.Volume.Old = true
		}
	}
	w.Store.Record, w.Store.ReadWrite, w.Store.Request = instance.Record{}, "", topology.Request{}
	w.StopOperator(w.Operators[0])
	w.NewOperator()
}

// TestGolden compares whole stories, so that a change of a decision is read before it is taken on.
func TestGolden(t *testing.T) {
	for name, scenario := range scenarios {
		t.Run(name, func(t *testing.T) {
			s := scenario(t)
			for _, problem := range s.w.Violations {
				t.Error(problem)
			}
			got := strings.TrimLeft(s.text.String(), "\n")
			path := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil { //nolint:gosec // A file of the repository.
					t.Fatalf("write golden file: %v", err)
				}
				return
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("read golden file (run with -update to write it, then read it): %v", err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s differs (-golden +got; run with -update if it is right):\n%s", path, diff)
			}
		})
	}
}
