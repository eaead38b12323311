package duty

import (
	"testing"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/state"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

func TestHeld(t *testing.T) {
	const self, other = "shop-0", "shop-1"
	served := state.State{Promised: 5, Served: 5, Kept: true, Record: instance.Record{Epoch: 5, Primary: self, Voters: []string{self, other}}}
	with := func(change func(*state.State)) state.State {
		s := served
		change(&s)
		return s
	}
	at := func(epoch uint64, role instance.Role, record uint64, primary string, rejoin bool) *instance.Directive {
		d := &instance.Directive{Epoch: epoch, Role: role, Record: instance.Record{Epoch: record, Primary: primary}}
		if rejoin {
			d.Rejoin = &instance.RejoinDuty{Source: primary}
		}
		return d
	}
	fence := at(6, instance.RoleStandby, 5, self, false)
	told := at(6, instance.RoleStandby, 6, other, true)
	for name, tc := range map[string]struct {
		state state.State
		d     *instance.Directive
		want  Hold
	}{
		"told nothing yet":                         {served, nil, HoldBriefly},
		"a fence may need it (I8)":                 {served, fence, HoldBriefly},
		"another one is committed":                 {served, at(6, instance.RoleStandby, 6, other, false), HoldSuperseded},
		"told what the other one holds":            {served, told, HoldRejoin},
		"told to follow before its end was seen":   {served, at(6, instance.RoleReplica, 6, other, false), HoldSuperseded},
		"told to lead":                             {served, at(6, instance.RolePrimary, 6, self, false), HoldNot},
		"told to clone":                            {served, at(6, instance.RoleClone, 6, other, false), HoldNot},
		"told of its own epoch":                    {served, at(5, instance.RoleStandby, 5, other, true), HoldBriefly},
		"told of a record that is not committed":   {served, at(7, instance.RoleStandby, 6, other, true), HoldBriefly},
		"told of itself":                           {served, at(6, instance.RoleStandby, 6, self, true), HoldBriefly},
		"never served":                             {with(func(s *state.State) { s.Served = 0 }), told, HoldNot},
		"started since, so that all is committed":  {with(func(s *state.State) { s.Recovered = 5 }), told, HoldNot},
		"holds nothing worth keeping":              {with(func(s *state.State) { s.Kept = false }), told, HoldNot},
		"half of it is replaced":                   {with(func(s *state.State) { s.Clone = &state.Clone{} }), told, HoldNot},
		"alone: nobody can be promoted without it": {with(func(s *state.State) { s.Record.Voters = []string{self} }), nil, HoldNot},
		"decided already": {with(func(s *state.State) {
			s.Rejoin = &state.Rejoin{Phase: state.PhaseArchived}
		}), told, HoldNot},
		"decided in an earlier epoch": {with(func(s *state.State) {
			s.Rejoin = &state.Rejoin{Phase: state.PhaseDone}
		}), told, HoldRejoin},
	} {
		if got := Held(self, tc.state, tc.d); got != tc.want {
			t.Errorf("%s: hold %d, want %d", name, got, tc.want)
		}
	}
}

func TestCameBack(t *testing.T) {
	const own, source = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "8a94f357-aab4-11df-86ab-c80aa9429444"
	r := state.Rejoin{ServerUUID: source, Holds: own + ":1-10", Removed: own + ":11-12"}
	for executed, want := range map[string]string{
		own + ":1-10":                      "",
		own + ":1-9":                       "",
		own + ":1-10," + source + ":1-999": "",
		own + ":1-11":                      own + ":11",
		own + ":1-12":                      own + ":11-12",
		"c0ffee00-aab4-11df-86ab-c80aa9429444:1," + own + ":1-10": "c0ffee00-aab4-11df-86ab-c80aa9429444:1",
	} {
		if got, err := CameBack(r, executed); err != nil || got.String() != want {
			t.Errorf("with %s: %s too much, want %s; %v", executed, got, want, err)
		}
	}
	if _, err := CameBack(r, "what"); err == nil {
		t.Error("a set that cannot be read passes")
	}
}
