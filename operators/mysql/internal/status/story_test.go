package status

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// chapter is one round of a story: what is seen after some time, and what is committed.
type chapter struct {
	after  time.Duration
	scene  func(*Input)
	commit topology.CommitKind
}

// The scenes of stories.

func open(*Input) {}

// died: its agent says that its mysqld ended a moment ago.
func died(in *Input) {
	r := in.at("db-0").Report
	r.State, r.Role, r.Serving, r.Epoch = instance.StateStarting, "", false, 0
	in.at("db-0").UnfitFor = 20 * time.Millisecond
}

// silent: nobody hears it.
func silent(in *Input) {
	m := in.at("db-0")
	m.Connected, m.Silence, m.UnfitFor = false, 5*time.Second, 3*time.Second
	for _, name := range []string{"db-1", "db-2"} {
		in.at(name).Report.Receiver = instance.Receiver{Running: true, Source: "db-0", SilentMillis: 5000}
	}
}

// promoted: db-1 is committed as the primary of the next epoch; it comes up, or takes writes.
func promoted(serving bool) func(*Input) {
	return func(in *Input) {
		in.Observation.Record.Epoch, in.Observation.Record.Primary = 3, "db-1"
		in.at("db-0").Connected = false
		r := in.at("db-1").Report
		r.Role, r.Epoch, r.Promised, r.Serving, r.Receiver = instance.RolePrimary, 3, 3, serving, instance.Receiver{}
	}
}

// stuck: db-1 is committed and does not come up.
func stuck(in *Input) {
	promoted(false)(in)
	m := in.at("db-1")
	m.Report.State, m.Report.Role, m.UnfitFor = instance.StateStarting, "", 10*time.Second
}

// draining: a handover is committed; the old primary is closed, or not yet.
func draining(role instance.Role, givenUp bool) func(*Input) {
	return func(in *Input) {
		in.Observation.Record.Handover = &instance.Handover{To: "db-1", GivenUp: givenUp}
		r := in.at("db-0").Report
		r.Role, r.Serving = role, role == instance.RolePrimary
	}
}

func refusing(in *Input) { in.at("db-1").Report.Refused = "directive-1" }

// drained: the pod of the primary is asked to stop.
func drained(in *Input) { in.at("db-0").Pod.Terminating = true }

// told is what a story told, one string a round in which it told anything.
type news struct {
	Failover   topology.Loss
	Switchover Switchover
	GivenUp    bool
	Gap        Gap
	Refused    int
}

func TestStories(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	for name, tc := range map[string]struct {
		chapters []chapter
		want     []news
	}{
		"a quiet cluster": {chapters: []chapter{{0, open, ""}, {10 * s, open, ""}}},
		"mysqld dies and another one is promoted": {
			chapters: []chapter{{0, open, ""}, {s, died, ""}, {50 * ms, died, topology.CommitPromote},
				{10 * ms, promoted(false), ""}, {90 * ms, promoted(true), ""}, {s, promoted(true), ""}},
			want: []news{{Failover: topology.LossEnded}, {Gap: Gap{CauseFailover, 20 * ms, 50 * ms, 100 * ms}}},
		},
		"the primary falls silent": {
			chapters: []chapter{{0, open, ""}, {s, silent, ""}, {100 * ms, silent, topology.CommitPromote}, {200 * ms, promoted(true), ""}},
			want:     []news{{Failover: topology.LossSilent}, {Gap: Gap{CauseFailover, 5 * s, 100 * ms, 200 * ms}}},
		},
		"the operator has begun to look in the middle: it counts and measures nothing": {
			chapters: []chapter{{0, silent, ""}, {100 * ms, silent, topology.CommitPromote}, {200 * ms, promoted(true), ""}},
			want:     []news{{Failover: topology.LossSilent}},
		},
		"a failover that was not measured leaves nothing behind for the next": {
			chapters: []chapter{{0, silent, ""}, {100 * ms, silent, topology.CommitPromote}, {200 * ms, open, ""},
				{s, died, ""}, {50 * ms, open, ""}},
			want: []news{{Failover: topology.LossSilent}, {Gap: Gap{CauseRecovered, 20 * ms, 50 * ms, 0}}},
		},
		"the promoted one does not come up, so that another one is": {
			chapters: []chapter{{0, open, ""}, {s, died, ""}, {0, died, topology.CommitPromote},
				{10 * s, stuck, ""}, {s, stuck, topology.CommitPromote}, {s, open, ""}},
			want: []news{{Failover: topology.LossEnded}, {Failover: topology.LossStuck}, {Gap: Gap{CauseFailover, 20 * ms, 11 * s, s}}},
		},
		"promoted by request": {
			chapters: []chapter{{0, open, ""}, {s, silent, ""}, {60 * s, silent, topology.CommitForcePromote}, {s, promoted(true), ""}},
			want:     []news{{Failover: Forced}, {Gap: Gap{CauseFailover, 5 * s, 60 * s, s}}},
		},
		"a switchover that was asked for": {
			chapters: []chapter{{0, open, ""},
				{s, func(in *Input) { in.Observation.Request.Switchover = "db-1" }, topology.CommitHandover},
				{10 * ms, draining(instance.RolePrimary, false), ""}, {10 * ms, draining(instance.RoleDrain, false), ""},
				{30 * ms, draining(instance.RoleDrain, false), topology.CommitSwitchover}, {100 * ms, promoted(true), ""}},
			want: []news{{Switchover: SwitchoverAsked}, {Gap: Gap{CauseSwitchover, 0, 50 * ms, 100 * ms}}},
		},
		"a switchover that is given up": {
			chapters: []chapter{{0, open, ""}, {s, drained, topology.CommitHandover},
				{3 * s, draining(instance.RoleDrain, false), topology.CommitHandoverGivenUp}, {100 * ms, draining(instance.RolePrimary, true), ""}},
			want: []news{{Switchover: SwitchoverStopping, GivenUp: true}, {Gap: Gap{CauseSwitchover, 0, 3100 * ms, 0}}},
		},
		"the primary dies while it hands over": {
			chapters: []chapter{{0, open, ""}, {s, drained, topology.CommitHandover},
				{100 * ms, func(in *Input) { died(in); in.at("db-0").Report.Served = 2 }, ""},
				{100 * ms, died, topology.CommitPromote}, {100 * ms, promoted(true), ""}},
			want: []news{{Failover: topology.LossEnded}, {Gap: Gap{CauseFailover, 0, 200 * ms, 100 * ms}}},
		},
		"a switchover that an earlier leader began": {
			chapters: []chapter{{0, draining(instance.RoleDrain, false), topology.CommitSwitchover}, {s, promoted(true), ""}},
			want:     []news{{Switchover: SwitchoverUnknown}},
		},
		"one directive is refused once": {
			chapters: []chapter{{0, refusing, ""}, {s, refusing, ""}, {s, open, ""}, {s, refusing, ""}},
			want:     []news{{Refused: 1}, {Refused: 1}},
		},
		"commits that are about no primary": {
			chapters: []chapter{{0, open, topology.CommitTakeOver}, {s, open, topology.CommitChange}, {s, open, topology.CommitVoters}, {s, open, ""}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var story Story
			var got []news
			at := scene().Observation.Now
			for _, c := range tc.chapters {
				in := scene()
				c.scene(in)
				at = at.Add(c.after)
				in.Observation.Now = at
				var commit *topology.Commit
				if c.commit != "" {
					commit = &topology.Commit{Kind: c.commit}
				}
				var n News
				story, n = story.Tell(in.Observation, commit, at)
				told := news{Failover: n.Failover, Switchover: n.Switchover, GivenUp: n.GivenUp, Refused: n.Refused}
				if n.Closed != nil {
					told.Gap = *n.Closed
				}
				if told != (news{}) {
					got = append(got, told)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestReasonsOfSwitchoversAreThoseOfTheTopology: the metric says in one word what the decision says in a sentence.
func TestReasonsOfSwitchoversAreThoseOfTheTopology(t *testing.T) {
	for want, tc := range map[Switchover]struct {
		scene func(*Input)
		why   string
	}{
		SwitchoverAsked:    {func(in *Input) { in.Observation.Request.Switchover = "db-1" }, "asked for"},
		SwitchoverStopping: {drained, "asked to stop"},
		SwitchoverScaling: {func(in *Input) {
			in.Observation.Spec.Instances = 2
			in.at("db-0").Ordinal, in.at("db-2").Ordinal = 2, 0
		}, "instances are wanted"},
		SwitchoverUpdating:    {func(in *Input) { in.at("db-0").Pod.Outdated = true }, "made anew"},
		SwitchoverConfiguring: {func(in *Input) { in.at("db-0").Report.RestartNeeded = true }, "needs a restart"},
	} {
		t.Run(string(want), func(t *testing.T) {
			in := scene()
			for i := range in.Observation.Members {
				in.Observation.Members[i].Report.ConfigHash = instance.ConfigHash(nil, in.Observation.Spec.BufferPoolBytes)
			}
			tc.scene(in)
			plan := topology.Decide(in.Observation)
			if plan.Commit == nil || plan.Commit.Kind != topology.CommitHandover || !strings.Contains(plan.Commit.Why, tc.why) {
				t.Fatalf("the scene leads to %+v (%s)", plan.Commit, plan.Why)
			}
			if got := switchover(in.Observation); got != want {
				t.Errorf("got %s", got)
			}
		})
	}
}

// TestEveryLossIsDeclared: a series that nobody declared begins with its first event, which increase() does not see.
func TestEveryLossIsDeclared(t *testing.T) {
	for name, change := range map[string]func(*Input){
		"ended": died, "silent": silent, "stuck": stuck, "stalled": func(in *Input) { in.at("db-0").Report.Stalled = true },
		"self-fenced": func(in *Input) { died(in); in.at("db-0").Report.SelfFenced = true },
		"empty":       func(in *Input) { in.at("db-0").Report.Blank = true },
		"removed":     func(in *Input) { in.Observation.Record.Primary = "db-9" },
		"fenced":      func(in *Input) { in.at("db-0").Report.Promised = 3 },
		"cut-off": func(in *Input) {
			for _, name := range []string{"db-1", "db-2"} {
				in.at(name).Report.Receiver = instance.Receiver{Running: true, Source: "db-0", SilentMillis: 5000}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := scene()
			change(in)
			got := topology.LossOf(in.Observation)
			if string(got) != name || !slices.Contains(Failovers(), got) {
				t.Errorf("the primary is lost because of %q", got)
			}
		})
	}
	if got := topology.LossOf(scene().Observation); got != topology.LossNone {
		t.Errorf("a healthy primary is lost because of %q", got)
	}
}
