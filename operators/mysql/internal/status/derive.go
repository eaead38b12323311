package status

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/protect"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// Input is what a status is derived from.
type Input struct {
	// Cluster is the custom resource as observed.
	Cluster *v1alpha1.MySQLCluster
	// Observation and Plan are one round of the loop.
	Observation topology.Observation
	Plan        topology.Plan
	// PodProblems say, by instance name, why a pod does not come up: a reason of the condition Reconciled, and a message.
	PodProblems map[string]Problem
	// Unreadable says, by instance name, why an agent's report could not be understood.
	Unreadable map[string]string
	// UsersSecret is the name of the Secret that holds the accounts' passwords.
	UsersSecret string
	// Claims says, by instance name, what is to be said about its volume claim.
	Claims map[string]Problem
	// ExporterProblems say, by instance name, why an exporter does not run.
	ExporterProblems map[string]string
	// Monitoring is what keeps Prometheus and Grafana from being told of the cluster; nil if nothing does.
	Monitoring *Problem
	// Backups are the cluster's MySQLBackups. ScheduleProblem is what is wrong with spec.backup.schedule; empty if nothing is.
	Backups         []v1alpha1.MySQLBackup
	ScheduleProblem string
	// Drill is what was decided about restore drills.
	Drill protect.Drill
	// Held is why instances are not made anew with another image yet; empty if nothing holds them.
	Held string
	// BackupProblem is what keeps the operator from looking after them; nil if nothing does.
	BackupProblem *Problem
	// Failures are what could not be done in this round; the reason may be empty.
	Failures []Problem
}

// Problem is something that is not as it should be.
type Problem struct {
	// Reason is a condition reason, Message a sentence.
	Reason, Message string
}

// Status is the derived part of a status; the record is not part of it.
type Status struct {
	ObservedGeneration int64
	ObservedEpoch      int64
	ObservedTerm       int64
	Summary            v1alpha1.Summary
	Ready              string
	ReadyInstances     int32
	Version            string
	Endpoints          v1alpha1.Endpoints
	Conditions         []metav1.Condition
	Instances          []v1alpha1.InstanceStatus
	Backup             *v1alpha1.BackupStatus
}

// Derive returns the status that an observation, a plan and its outcome amount to.
func Derive(in Input) Status {
	out := Status{ObservedGeneration: in.Cluster.Generation, Endpoints: endpoints(in.Cluster)}
	out.ObservedEpoch = int64(in.Observation.Record.Epoch) //nolint:gosec // Epochs count failovers.
	out.ObservedTerm = int64(in.Observation.Term)          //nolint:gosec // Seconds and a count, below 2^53.
	for i := range in.Observation.Members {
		m := &in.Observation.Members[i]
		status := describe(in, m)
		if status.Ready && in.Observation.Wanted(m) {
			out.ReadyInstances++
		}
		out.Instances = append(out.Instances, status)
	}
	out.Ready = fmt.Sprintf("%d/%d", out.ReadyInstances, in.Observation.Spec.Instances)
	if p := in.Observation.Primary(); p != nil && p.Report != nil {
		out.Version = p.Report.ServerVersion
	}
	out.Backup = backup(in)
	out.Conditions = conditions(in)
	out.Summary = summary(in, out.Conditions)
	return out
}

func endpoints(cluster *v1alpha1.MySQLCluster) v1alpha1.Endpoints {
	host := func(suffix string) string {
		return fmt.Sprintf("%s%s.%s.svc:3306", cluster.Name, suffix, cluster.Namespace)
	}
	return v1alpha1.Endpoints{ReadWrite: host(""), ReadOnly: host("-ro"), Read: host("-r")}
}

// describe is one instance as people want to see it.
func describe(in Input, m *topology.Member) v1alpha1.InstanceStatus {
	o := in.Observation
	out := v1alpha1.InstanceStatus{
		Name: m.Name, Voter: o.IsVoter(m.Name), State: "Unknown",
		Ready: slices.Contains(in.Plan.Endpoints.Any, m.Name),
	}
	if m.Report != nil {
		out.Version = m.Report.ServerVersion
	}
	if m.Connected && m.Report != nil {
		out.State, out.Role = string(m.Report.State), string(m.Report.Role)
	}
	out.Message = bounded(message(in, m))
	return out
}

// message says what keeps an instance from being what it should be.
func message(in Input, m *topology.Member) string {
	switch {
	case in.PodProblems[m.Name].Message != "":
		return in.PodProblems[m.Name].Message
	case m.Pod == nil:
		return "it has no pod"
	case in.Unreadable[m.Name] != "":
		return in.Unreadable[m.Name]
	case m.Report == nil:
		return "its agent has not reported yet"
	case !m.Connected:
		return "its agent is not heard"
	case m.Report.Problem != "":
		return m.Report.Problem
	case m.Report.RefusedWhy != "":
		return "it refused what it was told: " + m.Report.RefusedWhy
	case m.Report.Stalled:
		return "its volume or mysqld does not answer"
	case m.Report.Terminating:
		return "its pod was asked to stop"
	case m.Report.Applier.Error != "":
		return "it cannot apply: " + m.Report.Applier.Error
	case m.Report.Receiver.Error != "" && !m.Report.Receiver.Connected:
		return "it cannot receive: " + attempts.ReplaceAllString(m.Report.Receiver.Error, "")
	case m.Report.ConfigError != "":
		return "it keeps its old configuration: " + m.Report.ConfigError
	case m.Report.RestartNeeded:
		return "its new configuration waits for a restart"
	case m.Report.State == instance.StateCloning && seeding(m.Report.Seed) != "":
		return seeding(m.Report.Seed)
	case m.Report.State == instance.StateCloning:
		return "it is copying the primary's data"
	}
	return ""
}

// seeding says how far a restore is that stands in for a copy of the primary's data; "" if none is at work.
func seeding(r *instance.RestoreReport) string {
	if r == nil {
		return ""
	}
	// In steps of ten: who reads it does not want to be told of each part.
	percent := 10 * (10 * r.Done / max(1, r.Of))
	switch r.State {
	case instance.RestorePlanning:
		return "it is made from a backup"
	case instance.RestoreUnpacking:
		return fmt.Sprintf("it is made from %s: unpacking, %d %% done", r.Plan, percent)
	case instance.RestoreReplaying:
		return fmt.Sprintf("it is made from %s: replaying, %d %% done", r.Plan, percent)
	case instance.RestoreVerifying:
		return fmt.Sprintf("it is made from %s: being checked", r.Plan)
	case instance.RestoreDone, instance.RestoreFailed:
	}
	return ""
}

// attempts is how mysqld counts in the error of a receiver that tries again and again. A status with it would change with
// every attempt.
var attempts = regexp.MustCompile(` *This was attempt \d+/\d+, with a delay of \d+ seconds? between attempts\.`)

// summary is the one word of kubectl get.
func summary(in Input, conditions []metav1.Condition) v1alpha1.Summary {
	available := find(conditions, v1alpha1.ConditionAvailable)
	progressing := find(conditions, v1alpha1.ConditionProgressing)
	switch in.Plan.State {
	case topology.Starting:
		return v1alpha1.SummaryCreating
	case topology.FailingOver, topology.Promoting:
		if handedOver(in) {
			return v1alpha1.SummarySwitchingOver
		}
		return v1alpha1.SummaryFailingOver
	case topology.SwitchingOver:
		return v1alpha1.SummarySwitchingOver
	case topology.Waiting:
		switch available.Reason {
		case v1alpha1.ReasonManualFailover, v1alpha1.ReasonBootstrapping:
			return v1alpha1.SummaryBlocked
		case v1alpha1.ReasonFailingOver:
			return v1alpha1.SummaryFailingOver
		case v1alpha1.ReasonNotObserved:
			return v1alpha1.SummaryDegraded
		}
		return v1alpha1.SummaryUnavailable
	case topology.Unreachable:
		return v1alpha1.SummaryDegraded
	case topology.Healthy, topology.Changing, topology.Degraded:
	}
	switch {
	case progressing.Reason == v1alpha1.ReasonUpdating:
		return v1alpha1.SummaryUpdating
	case progressing.Reason == v1alpha1.ReasonScaling:
		return v1alpha1.SummaryScaling
	case find(conditions, v1alpha1.ConditionReady).Status == metav1.ConditionTrue:
		return v1alpha1.SummaryHealthy
	}
	return v1alpha1.SummaryDegraded
}

// bounded keeps a message within what the API accepts.
func bounded(message string) string {
	const limit = 1000
	if len(message) <= limit {
		return message
	}
	return strings.ToValidUTF8(message[:limit], "") + " ..."
}
