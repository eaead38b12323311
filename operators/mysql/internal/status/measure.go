package status

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// Measure is what metrics say about a cluster after a round. What is not known is nil, never 0.
type Measure struct {
	// Phase is the summary, Conditions are the findings.
	Phase      v1alpha1.Summary
	Conditions []metav1.Condition
	// Seen is what was seen of the instances; nil if they could not be looked at.
	Seen *Seen
}

// Seen is what a round saw of the instances.
type Seen struct {
	// Epoch is the committed one; Writable says that its primary takes writes.
	Epoch    uint64
	Writable bool
	// Wanted instances, those that have a pod, those that serve, and those whose agent is heard.
	Wanted, Existing, Ready, Connected int
	// Voters are committed, VotersFit of them do their work; WriteQuorum is how many have to hold a transaction.
	Voters, VotersFit, WriteQuorum int
	// Roles counts instances by role.
	Roles map[string]int
	// Instances are the instances one by one.
	Instances []Instance
}

// Instance is what metrics say about one instance.
type Instance struct {
	// Name is the pod's name.
	Name string
	// Role is what it is, Version the MySQL version it reports; empty if unknown.
	Role, Version string
	// Ready says that it serves, Voter that it votes, Heard that its agent is heard.
	Ready, Voter, Heard bool
	// Lag is how old the newest applied transaction is while something is left to apply, in seconds; nil if unknown or if
	// it does not follow anybody.
	Lag *int64
}

// Measured is the measure of a round.
func Measured(in Input, s Status) Measure {
	o := in.Observation
	seen := &Seen{
		Epoch: o.Record.Epoch, Writable: o.Open(), Wanted: o.Spec.Instances, Ready: int(s.ReadyInstances), Voters: len(o.Record.Voters),
		Roles: Roles(o),
	}
	if seen.Voters > 0 {
		seen.WriteQuorum = topology.WriteQuorum(seen.Voters)
	}
	ready := map[string]bool{}
	for _, i := range s.Instances {
		ready[i.Name] = i.Ready
	}
	for i := range o.Members {
		m := &o.Members[i]
		if m.Pod != nil {
			seen.Existing++
		}
		if m.Connected {
			seen.Connected++
		}
		if o.IsVoter(m.Name) && m.Connected && o.Fit(m) {
			seen.VotersFit++
		}
		if m.Pod == nil && m.Report == nil {
			// A gap in the numbering, or an instance that is still to be made.
			continue
		}
		seen.Instances = append(seen.Instances, instanceOf(o, m, ready[m.Name]))
	}
	return Measure{Phase: s.Summary, Conditions: s.Conditions, Seen: seen}
}

func instanceOf(o topology.Observation, m *topology.Member, ready bool) Instance {
	out := Instance{Name: m.Name, Role: RoleOf(m), Ready: ready, Voter: o.IsVoter(m.Name), Heard: m.Connected}
	if m.Report == nil {
		return out
	}
	out.Version = m.Report.ServerVersion
	if lag := m.Report.Applier.LagSeconds; m.Connected && m.Report.Applier.Running && lag >= 0 {
		out.Lag = &lag
	}
	return out
}

// Phases are all summaries.
func Phases() []v1alpha1.Summary {
	return []v1alpha1.Summary{
		v1alpha1.SummaryCreating, v1alpha1.SummaryHealthy, v1alpha1.SummaryDegraded, v1alpha1.SummaryFailingOver,
		v1alpha1.SummarySwitchingOver, v1alpha1.SummaryUpdating, v1alpha1.SummaryScaling, v1alpha1.SummaryUnavailable,
		v1alpha1.SummaryBlocked, v1alpha1.SummaryDeleting, v1alpha1.SummaryUnknown,
	}
}
