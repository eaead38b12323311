package status

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

func measured(in *Input) Measure {
	whole := decided(in)
	return Measured(whole, Derive(whole))
}

func TestMeasures(t *testing.T) {
	healthy := func(change func(*Seen)) Seen {
		out := Seen{
			Epoch: 2, Writable: true, Wanted: 3, Existing: 3, Ready: 3, Connected: 3, Voters: 3, VotersFit: 3, WriteQuorum: 2,
			Roles: map[string]int{"Primary": 1, "Replica": 2, "Standby": 0, "Drain": 0, "Clone": 0, "Unknown": 0},
		}
		change(&out)
		return out
	}
	for name, tc := range map[string]struct {
		change func(*Input)
		phase  v1alpha1.Summary
		want   Seen
	}{
		"healthy": {func(*Input) {}, v1alpha1.SummaryHealthy, healthy(func(*Seen) {})},
		"a replica is gone": {func(in *Input) { in.gone("db-2") }, v1alpha1.SummaryDegraded, healthy(func(s *Seen) {
			s.Existing, s.Ready, s.Connected, s.VotersFit = 2, 2, 2, 2
			s.Roles["Replica"], s.Roles["Unknown"] = 1, 1
		})},
		"a replica does not acknowledge": {func(in *Input) { in.at("db-2").Report.Acknowledging = false }, v1alpha1.SummaryDegraded,
			healthy(func(s *Seen) { s.VotersFit = 2 })},
		"the primary died": {died, v1alpha1.SummaryFailingOver, healthy(func(s *Seen) {
			s.Writable, s.Ready, s.VotersFit = false, 2, 2
			s.Roles["Primary"], s.Roles["Unknown"] = 0, 1
		})},
		"a role of a later release": {func(in *Input) { in.at("db-2").Report.Role = "Juggler" }, v1alpha1.SummaryDegraded, healthy(func(s *Seen) {
			s.Ready, s.VotersFit = 2, 2
			s.Roles["Replica"], s.Roles["Unknown"] = 1, 1
		})},
	} {
		t.Run(name, func(t *testing.T) {
			in := scene()
			tc.change(in)
			got := measured(in)
			if got.Phase != tc.phase || !slices.Contains(Phases(), got.Phase) || len(got.Conditions) < 9 {
				t.Errorf("phase %s with %d conditions, want %s", got.Phase, len(got.Conditions), tc.phase)
			}
			got.Seen.Instances = nil
			if diff := cmp.Diff(tc.want, *got.Seen); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestInstancesAreMeasured(t *testing.T) {
	in := scene()
	in.at("db-1").Report.Applier.LagSeconds = 7
	in.at("db-2").Report.Applier.LagSeconds = -1
	in.gone("db-2")
	seven := int64(7)
	want := []Instance{
		{Name: "db-0", Role: "Primary", Version: "9.7.1", Ready: true, Voter: true, Heard: true},
		{Name: "db-1", Role: "Replica", Version: "9.7.1", Ready: true, Voter: true, Heard: true, Lag: &seven},
		{Name: "db-2", Role: "Unknown", Version: "9.7.1", Voter: true},
	}
	if diff := cmp.Diff(want, measured(in).Seen.Instances); diff != "" {
		t.Error(diff)
	}
}

// TestWhatDoesNotExistIsNotMeasured: an instance that is still to be made is none that is not ready.
func TestWhatDoesNotExistIsNotMeasured(t *testing.T) {
	in := scene()
	in.unborn()
	for _, name := range []string{"db-1", "db-2"} {
		in.at(name).Pod, in.at(name).Report, in.at(name).Connected = nil, nil, false
	}
	got := measured(in).Seen
	if len(got.Instances) != 1 || got.Instances[0].Role != RoleUnknown || got.WriteQuorum != 0 || got.Writable || got.Roles[string(instance.RolePrimary)] != 0 {
		t.Errorf("got %+v", got)
	}
}
