package model

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// CheckPlan returns what is wrong with a plan on the face of it, whatever was observed.
func CheckPlan(o topology.Observation, plan topology.Plan) []string {
	var wrong []string
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if plan.State == "" {
		add("the plan has no state")
	}
	if plan.State != topology.Healthy && plan.Why == "" {
		add("the plan does not say why it is %s", plan.State)
	}
	if c := plan.Commit; c != nil {
		if !reflect.DeepEqual(c.From, o.Record) {
			add("the commit is not made from what was observed")
		}
		if len(plan.Directives) > 0 || plan.Delete != nil {
			add("a plan with a commit does something that would need the new record")
		}
		if c.Why == "" {
			add("the commit %s does not say why", c.Kind)
		}
	}
	leaders := 0
	for _, d := range plan.Directives {
		wrong = append(wrong, checkDirective(o, d)...)
		if d.Directive.Role == instance.RolePrimary || d.Directive.Role == instance.RoleDrain {
			leaders++
		}
	}
	if leaders > 1 {
		add("I1: %d instances are told to lead", leaders)
	}
	for _, name := range o.Record.Voters {
		if m := o.Member(name); m != nil && m.Ordinal >= plan.Replicas {
			add("I9: the pod of the voter %s is to go", name)
		}
	}
	if plan.LookAgain <= 0 {
		add("the plan does not say when to look again")
	}
	return wrong
}

// checkRejoin holds what a former primary is told about the new history to what is committed (I3, I12).
func checkRejoin(o topology.Observation, direct topology.Direct) []string {
	var wrong []string
	d, m, primary := direct.Directive, o.Member(direct.Member), o.Primary()
	if d.Rejoin == nil {
		return nil
	}
	if d.Epoch != o.Record.Epoch || d.Rejoin.Source != o.Record.Primary || m.Name == o.Record.Primary || m.Report.Served >= d.Epoch {
		wrong = append(wrong, direct.Member+": I3: it is told of another history than the committed one")
	}
	if r := primary.Report; r == nil || r.Role != instance.RolePrimary && r.Role != instance.RoleDrain || r.Epoch != d.Epoch ||
		r.ServerUUID != d.Rejoin.ServerUUID {
		wrong = append(wrong, direct.Member+": I3: it is told what a primary holds that is not at work")
	}
	if m.Report.State == instance.StateRunning {
		wrong = append(wrong, direct.Member+": I6: it is told to come back, and has not gone")
	}
	return wrong
}

func checkDirective(o topology.Observation, direct topology.Direct) []string {
	var wrong []string
	add := func(format string, args ...any) {
		wrong = append(wrong, direct.Member+": "+fmt.Sprintf(format, args...))
	}
	d, m := direct.Directive, o.Member(direct.Member)
	if direct.Why == "" {
		add("nobody says why it is told %s", d.Role)
	}
	if d.ID != d.WithID().ID {
		add("the directive's ID is not that of its content")
	}
	if d.Term != o.Term {
		add("I11: the directive carries term %d", d.Term)
	}
	if d.Epoch < o.Record.Epoch || d.Epoch == 0 {
		add("I11: the directive carries epoch %d", d.Epoch)
	}
	if !m.Connected || m.Report == nil || m.Report.Promised > d.Epoch {
		add("it is told what it cannot hear or would refuse")
	}
	switch d.Role {
	case instance.RolePrimary, instance.RoleDrain:
		if d.Epoch != o.Record.Epoch || direct.Member != o.Record.Primary || d.Primary == nil {
			add("I1: it is told to lead epoch %d", d.Epoch)
		}
	case instance.RoleReplica:
		if d.Epoch != o.Record.Epoch || d.Replica == nil || d.Replica.Source.Name != o.Record.Primary ||
			d.Replica.Source.Credential.Epoch != o.Record.Epoch {
			add("I12: it is told to follow another than the primary of the epoch")
		}
	case instance.RoleClone:
		if slices.Contains(o.Record.Voters, direct.Member) {
			add("I9: a voter is told to clone")
		}
		if d.Epoch != o.Record.Epoch || d.Clone == nil || d.Clone.Source.Name != o.Record.Primary {
			add("I9: it is told to clone another than the primary of the epoch")
		}
	case instance.RoleStandby:
		wrong = append(wrong, checkRejoin(o, direct)...)
	default:
		add("it is told the unknown role %q", d.Role)
	}
	return wrong
}
