package status

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
	"github.com/kapok-operators/kapok/shared/condition"
)

// conditions are all findings, in the order in which people read them.
func conditions(in Input) []metav1.Condition {
	out := []metav1.Condition{
		available(in), redundant(in), progressing(in), reconciled(in), configurationValid(in), storageHealthy(in),
		usersReady(in), consistent(in),
	}
	out = slices.Insert(out, 0, ready(out))
	out = append(out, monitored(in))
	if in.Cluster.Spec.Backup != nil {
		out = append(out, backupReady(in))
		if in.Cluster.Spec.Backup.Verify != nil && in.Cluster.Spec.Backup.Target != nil {
			out = append(out, backupProven(in))
		}
	}
	return out
}

// monitored tells whether Prometheus and Grafana see the cluster. Nothing else depends on it.
func monitored(in Input) metav1.Condition {
	is := func(t metav1.ConditionStatus, reason, message string) metav1.Condition {
		return condition.New(v1alpha1.ConditionMonitored, t, reason, bounded(message))
	}
	for _, name := range slices.Sorted(maps.Keys(in.ExporterProblems)) {
		return is(metav1.ConditionFalse, v1alpha1.ReasonExporterDown, name+": "+in.ExporterProblems[name])
	}
	switch {
	case in.Monitoring == nil && in.Cluster.Spec.Monitoring.Exporter == v1alpha1.ExporterNone:
		return is(metav1.ConditionFalse, v1alpha1.ReasonMonitoringOff, "spec.monitoring.exporter is None")
	case in.Monitoring == nil:
		return is(metav1.ConditionTrue, v1alpha1.ReasonAsExpected, "Prometheus and Grafana are told of the cluster")
	case in.Monitoring.Reason == v1alpha1.ReasonNotObserved:
		return is(metav1.ConditionUnknown, in.Monitoring.Reason, in.Monitoring.Message)
	}
	return is(metav1.ConditionFalse, in.Monitoring.Reason, in.Monitoring.Message)
}

// ready repeats the first finding that is not well. While something is being changed or brought back, the cluster is not
// yet what its spec asks for, even if one more instance can be lost.
func ready(findings []metav1.Condition) metav1.Condition {
	for _, c := range findings {
		if c.Type != v1alpha1.ConditionProgressing && c.Status != metav1.ConditionTrue &&
			(c.Type != v1alpha1.ConditionRedundant || c.Reason != v1alpha1.ReasonSingleInstance) {
			return condition.New(v1alpha1.ConditionReady, c.Status, c.Reason, c.Message)
		}
	}
	if p := find(findings, v1alpha1.ConditionProgressing); p.Status == metav1.ConditionTrue {
		return condition.New(v1alpha1.ConditionReady, metav1.ConditionFalse, p.Reason, p.Message)
	}
	return condition.New(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonAsExpected, "the cluster is all that its spec asks for")
}

func available(in Input) metav1.Condition {
	o, plan := in.Observation, in.Plan
	is := func(t metav1.ConditionStatus, reason, message string) metav1.Condition {
		return condition.New(v1alpha1.ConditionAvailable, t, reason, bounded(message))
	}
	switch plan.State {
	case topology.Healthy, topology.Changing, topology.Degraded:
		return is(metav1.ConditionTrue, v1alpha1.ReasonPrimaryServing, o.Record.Primary+" takes writes")
	case topology.SwitchingOver:
		return is(metav1.ConditionFalse, v1alpha1.ReasonSwitchingOver, "the primary is being handed over "+plan.Why)
	case topology.Unreachable:
		return is(metav1.ConditionUnknown, v1alpha1.ReasonNotObserved, plan.Why)
	case topology.Starting:
		if restoreFails(o) {
			return is(metav1.ConditionFalse, v1alpha1.ReasonRestoreFailing, plan.Why)
		}
		return is(metav1.ConditionFalse, v1alpha1.ReasonBootstrapping, plan.Why)
	case topology.FailingOver, topology.Promoting:
		if handedOver(in) {
			return is(metav1.ConditionFalse, v1alpha1.ReasonSwitchingOver, plan.Why)
		}
		if p := o.Primary(); p != nil && p.Report != nil && p.Report.Epoch == o.Record.Epoch && p.Report.Role == instance.RolePrimary {
			return is(metav1.ConditionFalse, v1alpha1.ReasonPrimaryRecovering, plan.Why)
		}
		return is(metav1.ConditionFalse, v1alpha1.ReasonFailingOver, plan.Why)
	case topology.Waiting:
	}
	switch {
	case o.Record.Epoch == 0:
		return is(metav1.ConditionFalse, v1alpha1.ReasonBootstrapping, plan.Why)
	case suspected(o):
		return is(metav1.ConditionUnknown, v1alpha1.ReasonNotObserved, plan.Why)
	case fencing(in):
		return is(metav1.ConditionFalse, v1alpha1.ReasonFailingOver, plan.Why)
	case o.Spec.ManualFailover && o.Request.Switchover == "":
		return is(metav1.ConditionFalse, v1alpha1.ReasonManualFailover, plan.Why)
	case len(o.Record.Voters) == 1:
		return is(metav1.ConditionFalse, v1alpha1.ReasonNoFailoverPossible, plan.Why)
	}
	return is(metav1.ConditionFalse, v1alpha1.ReasonQuorumLost, plan.Why)
}

// restoreFails says whether the data that a cluster begins with could not be restored so far.
func restoreFails(o topology.Observation) bool {
	if !o.Spec.Restore || len(o.Members) == 0 {
		return false
	}
	r := o.Members[0].Report
	return r != nil && r.Restore != nil && r.Restore.State == instance.RestoreFailed
}

// handedOver says whether the primary that is coming up was made by a switchover. The record does not tell; the status
// that was written while the old primary was drained does.
func handedOver(in Input) bool {
	return in.Plan.State == topology.Promoting && in.Cluster.Status.Summary == v1alpha1.SummarySwitchingOver
}

// suspected says whether the primary was not heard for a moment only, so that nothing is known of it yet.
func suspected(o topology.Observation) bool {
	p := o.Primary()
	return p != nil && (!p.Connected || p.Report == nil) && p.Silence < topology.PromoteAfter
}

// fencing says whether a failover has begun that waits for nothing but the answers of voters who are there.
func fencing(in Input) bool {
	o, begun, there, fenced := in.Observation, false, 0, 0
	for _, d := range in.Plan.Directives {
		begun = begun || d.Directive.Role == instance.RoleStandby && d.Directive.Epoch > o.Record.Epoch
	}
	for _, name := range o.Record.Voters {
		m := o.Member(name)
		if m == nil || !m.Connected || m.Report == nil || m.Report.State != instance.StateRunning {
			continue
		}
		there++
		if m.Report.Role == instance.RoleStandby && m.Report.Epoch > o.Record.Epoch {
			fenced++
		}
	}
	quorum := topology.ReadQuorum(len(o.Record.Voters))
	return begun && there >= quorum && fenced < quorum
}

// redundant says whether one more instance can be lost: the rest must still be a write quorum at work.
func redundant(in Input) metav1.Condition {
	o := in.Observation
	is := func(t metav1.ConditionStatus, reason, message string) metav1.Condition {
		return condition.New(v1alpha1.ConditionRedundant, t, reason, bounded(message))
	}
	if o.Spec.Instances == 1 && len(o.Record.Voters) <= 1 {
		return is(metav1.ConditionFalse, v1alpha1.ReasonSingleInstance, "a cluster of one instance is never redundant; set spec.instances to 3")
	}
	var away, joining []string
	for i := range o.Members {
		m := &o.Members[i]
		switch {
		case o.IsVoter(m.Name) && !o.Fit(m):
			away = append(away, m.Name)
		case !o.IsVoter(m.Name) && o.Wanted(m):
			joining = append(joining, m.Name)
		}
	}
	fit := len(o.Record.Voters) - len(away)
	// Losing one of two leaves one that goes on alone; of more, a write quorum must be left.
	spare := fit >= 2 && (len(o.Record.Voters) == 2 || fit-1 >= topology.WriteQuorum(len(o.Record.Voters)))
	switch {
	case spare && len(away) == 0 && len(joining) == 0:
		return is(metav1.ConditionTrue, v1alpha1.ReasonAsExpected, "one more instance can be lost without losing data or service")
	case spare:
		return is(metav1.ConditionTrue, v1alpha1.ReasonAsExpected, "one more instance can be lost, although these are not in step: "+list(slices.Concat(away, joining)))
	case len(away) > 0:
		return is(metav1.ConditionFalse, v1alpha1.ReasonVotersMissing, "these voters are away or not in step: "+list(away))
	}
	return is(metav1.ConditionFalse, v1alpha1.ReasonInstancesJoining, "these instances do not vote yet: "+list(joining))
}

func progressing(in Input) metav1.Condition {
	o, plan := in.Observation, in.Plan
	is := func(t metav1.ConditionStatus, reason, message string) metav1.Condition {
		return condition.New(v1alpha1.ConditionProgressing, t, reason, bounded(message))
	}
	switch plan.State {
	case topology.Starting:
		return is(metav1.ConditionTrue, v1alpha1.ReasonCreating, plan.Why)
	case topology.Waiting:
		if fencing(in) {
			return is(metav1.ConditionTrue, v1alpha1.ReasonFailingOver, plan.Why)
		}
		return is(metav1.ConditionFalse, v1alpha1.ReasonBlocked, plan.Why)
	case topology.FailingOver:
		return is(metav1.ConditionTrue, v1alpha1.ReasonFailingOver, plan.Why)
	case topology.Promoting:
		if handedOver(in) {
			return is(metav1.ConditionTrue, v1alpha1.ReasonSwitchingOver, plan.Why)
		}
		return is(metav1.ConditionTrue, v1alpha1.ReasonFailingOver, plan.Why)
	case topology.SwitchingOver:
		return is(metav1.ConditionTrue, v1alpha1.ReasonSwitchingOver, plan.Why)
	case topology.Healthy, topology.Changing, topology.Degraded, topology.Unreachable:
	}
	var updating, scaling, repairing []string
	for i := range o.Members {
		m := &o.Members[i]
		switch {
		case m.Pod != nil && m.Pod.Outdated, m.Report != nil && m.Report.RestartNeeded:
			updating = append(updating, m.Name)
		case !o.Wanted(m) || !o.IsVoter(m.Name) && (m.Report == nil || m.Report.Blank):
			scaling = append(scaling, m.Name)
		case !o.Complete(m):
			repairing = append(repairing, m.Name)
		}
	}
	switch {
	case len(updating) > 0:
		return is(metav1.ConditionTrue, v1alpha1.ReasonUpdating, "to be replaced or restarted: "+list(updating))
	case len(scaling) > 0:
		return is(metav1.ConditionTrue, v1alpha1.ReasonScaling, "being added or taken out: "+list(scaling))
	case len(repairing) > 0:
		return is(metav1.ConditionTrue, v1alpha1.ReasonRepairing, "being brought back: "+list(repairing))
	case in.Held != "":
		return is(metav1.ConditionTrue, v1alpha1.ReasonUpdating, in.Held)
	case o.Record.Change != nil:
		return is(metav1.ConditionTrue, v1alpha1.ReasonScaling, "the voters are being changed")
	case len(resizing(in)) > 0:
		return is(metav1.ConditionTrue, v1alpha1.ReasonResizing, "the volumes of these instances are being enlarged: "+list(resizing(in)))
	}
	return is(metav1.ConditionFalse, v1alpha1.ReasonIdle, "there is nothing to do")
}

// resizing names the instances whose volumes are being enlarged.
func resizing(in Input) []string {
	var out []string
	for i := range in.Observation.Members {
		if name := in.Observation.Members[i].Name; in.Claims[name].Reason == v1alpha1.ReasonResizePending {
			out = append(out, name)
		}
	}
	return out
}

// Retiring are the findings about a cluster that is being deleted; nothing new is said about the rest.
func Retiring() []metav1.Condition {
	const message = "the cluster is being deleted"
	return []metav1.Condition{
		condition.New(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDeleting, message),
		condition.New(v1alpha1.ConditionProgressing, metav1.ConditionTrue, v1alpha1.ReasonDeleting, message),
	}
}

// reconciled tells of pods that do not come up and objects that could not be written.
func reconciled(in Input) metav1.Condition {
	is := func(t metav1.ConditionStatus, reason, message string) metav1.Condition {
		return condition.New(v1alpha1.ConditionReconciled, t, reason, bounded(message))
	}
	if len(in.Failures) > 0 {
		reason, messages := cmp.Or(in.Failures[0].Reason, v1alpha1.ReasonApplyFailed), make([]string, 0, len(in.Failures))
		for _, f := range in.Failures {
			messages = append(messages, f.Message)
		}
		return is(metav1.ConditionFalse, reason, strings.Join(messages, "; "))
	}
	starting := ""
	for i := range in.Observation.Members {
		m := &in.Observation.Members[i]
		if !in.Observation.Wanted(m) {
			continue
		}
		if p := in.PodProblems[m.Name]; p.Message != "" {
			return is(metav1.ConditionFalse, p.Reason, m.Name+": "+p.Message)
		}
		if m.Connected && m.Report != nil {
			switch m.Report.ProblemReason {
			case instance.ProblemNoServer:
				return is(metav1.ConditionFalse, v1alpha1.ReasonServerMissing, fmt.Sprintf("%s: %s; set spec.image to an image that carries mysqld", m.Name, m.Report.Problem))
			case instance.ProblemStartFailed:
				return is(metav1.ConditionFalse, v1alpha1.ReasonStartFailed, m.Name+": "+m.Report.Problem)
			}
		}
		if starting == "" && (m.Pod == nil || m.Report == nil) {
			starting = m.Name
		}
	}
	if starting != "" {
		return is(metav1.ConditionFalse, v1alpha1.ReasonPodsStarting, "waiting for the pod of "+starting)
	}
	return is(metav1.ConditionTrue, v1alpha1.ReasonAsExpected, "all objects of the cluster are as they should be")
}

func configurationValid(in Input) metav1.Condition {
	is := func(t metav1.ConditionStatus, reason, message string) metav1.Condition {
		return condition.New(v1alpha1.ConditionConfigurationValid, t, reason, bounded(message))
	}
	var pending []string
	known := false
	for i := range in.Observation.Members {
		m := &in.Observation.Members[i]
		if m.Report == nil || !m.Connected {
			continue
		}
		known = true
		if m.Report.ConfigError != "" {
			return is(metav1.ConditionFalse, v1alpha1.ReasonConfigurationRefused, fmt.Sprintf(
				"mysqld refuses spec.configuration: %s; the configuration in force stays as it was", m.Report.ConfigError))
		}
		if m.Report.RestartNeeded {
			pending = append(pending, m.Name)
		}
	}
	switch {
	case !known:
		return is(metav1.ConditionUnknown, v1alpha1.ReasonNotObserved, "no instance has reported yet")
	case len(pending) > 0:
		return is(metav1.ConditionTrue, v1alpha1.ReasonRestartPending, "accepted; it waits for a restart of "+list(pending))
	}
	return is(metav1.ConditionTrue, v1alpha1.ReasonAsExpected, "the configuration is in force")
}

// fullAt is the fill at which a volume is called full: below, mysqld still has room to recover.
const fullAt = 0.95

func storageHealthy(in Input) metav1.Condition {
	is := func(t metav1.ConditionStatus, reason, message string) metav1.Condition {
		return condition.New(v1alpha1.ConditionStorageHealthy, t, reason, bounded(message))
	}
	known := false
	for i := range in.Observation.Members {
		m := &in.Observation.Members[i]
		if p := in.Claims[m.Name]; p.Message != "" {
			return is(metav1.ConditionFalse, p.Reason, m.Name+": "+p.Message)
		}
		if m.Report == nil || !m.Connected {
			continue
		}
		known = true
		v := m.Report.Volume
		switch {
		case m.Report.ProblemReason == instance.ProblemVolumeFull, v.Size > 0 && float64(v.Size-v.Free) >= fullAt*float64(v.Size):
			return is(metav1.ConditionFalse, v1alpha1.ReasonVolumeFull, fmt.Sprintf(
				"the volume of %s is full or almost; raise spec.storage.size, or remove data", m.Name))
		case m.Report.Stalled:
			return is(metav1.ConditionFalse, v1alpha1.ReasonVolumeStalled, fmt.Sprintf("the volume of %s does not complete writes; look at its node and storage", m.Name))
		}
	}
	if !known {
		return is(metav1.ConditionUnknown, v1alpha1.ReasonNotObserved, "no instance has reported yet")
	}
	return is(metav1.ConditionTrue, v1alpha1.ReasonAsExpected, "the volumes have room and complete their writes")
}

func usersReady(in Input) metav1.Condition {
	o := in.Observation
	is := func(t metav1.ConditionStatus, reason, message string) metav1.Condition {
		return condition.New(v1alpha1.ConditionUsersReady, t, reason, bounded(message))
	}
	p := o.Primary()
	if len(o.Spec.Users) == 0 {
		return is(metav1.ConditionTrue, v1alpha1.ReasonAsExpected, "no accounts are asked for")
	}
	if p == nil || p.Report == nil || !p.Connected || !p.Report.Serving {
		return is(metav1.ConditionUnknown, v1alpha1.ReasonAwaitingPrimary, "accounts are made once a primary takes writes")
	}
	for _, user := range o.Spec.Users {
		if why := p.Report.UserErrors[user.Name]; why != "" {
			reason := v1alpha1.ReasonAccountFailed
			if strings.Contains(why, "Secret") {
				reason = v1alpha1.ReasonPasswordMissing
				why += fmt.Sprintf(" (Secret %s)", in.UsersSecret)
			}
			return is(metav1.ConditionFalse, reason, fmt.Sprintf("account %s: %s", user.Name, why))
		}
	}
	return is(metav1.ConditionTrue, v1alpha1.ReasonAsExpected, "the accounts exist")
}

func consistent(in Input) metav1.Condition {
	o := in.Observation
	primary := o.Primary()
	for i := range o.Members {
		m := &o.Members[i]
		if m.Name == o.Record.Primary || primary == nil || !m.Connected || !primary.Connected || primary.Report == nil ||
			primary.Report.Epoch != o.Record.Epoch {
			continue
		}
		if !topology.Errant(m, primary).IsEmpty() {
			return condition.New(v1alpha1.ConditionConsistent, metav1.ConditionFalse, v1alpha1.ReasonErrantTransactions, fmt.Sprintf(
				"%s holds transactions that the primary does not have; it gets no vote, they are archived on its volume, and it is rebuilt", m.Name))
		}
	}
	return condition.New(v1alpha1.ConditionConsistent, metav1.ConditionTrue, v1alpha1.ReasonAsExpected, "every instance holds only committed history")
}

func find(conditions []metav1.Condition, kind string) metav1.Condition {
	for _, c := range conditions {
		if c.Type == kind {
			return c
		}
	}
	return metav1.Condition{}
}

func list(names []string) string { return strings.Join(names, ", ") }

// Types are the condition types in the order in which people read them.
func Types() []string {
	return []string{
		v1alpha1.ConditionReady, v1alpha1.ConditionAvailable, v1alpha1.ConditionRedundant, v1alpha1.ConditionProgressing,
		v1alpha1.ConditionReconciled, v1alpha1.ConditionConfigurationValid, v1alpha1.ConditionStorageHealthy,
		v1alpha1.ConditionUsersReady, v1alpha1.ConditionConsistent, v1alpha1.ConditionMonitored, v1alpha1.ConditionBackupReady,
		v1alpha1.ConditionBackupProven,
	}
}
