package status

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// finding is what a test expects of a condition: its message holds the given words.
type finding struct {
	kind   string
	status metav1.ConditionStatus
	reason string
	words  string
}

const yes, no, unknown = metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown

// cases are scenes and what is said about them. Together they reach every condition and every reason.
func cases() map[string]struct {
	change  func(in *Input)
	summary v1alpha1.Summary
	want    []finding
} {
	const (
		ready, available, redundant, progressing = v1alpha1.ConditionReady, v1alpha1.ConditionAvailable, v1alpha1.ConditionRedundant, v1alpha1.ConditionProgressing
		reconciled, configuration, storage       = v1alpha1.ConditionReconciled, v1alpha1.ConditionConfigurationValid, v1alpha1.ConditionStorageHealthy
		users, consistent                        = v1alpha1.ConditionUsersReady, v1alpha1.ConditionConsistent
		monitored                                = v1alpha1.ConditionMonitored
	)
	type test = struct {
		change  func(in *Input)
		summary v1alpha1.Summary
		want    []finding
	}
	account := func(in *Input) { in.Observation.Spec.Users = []instance.User{{Name: "app"}} }
	out := map[string]test{
		"all is well": {func(*Input) {}, v1alpha1.SummaryHealthy, []finding{
			{ready, yes, v1alpha1.ReasonAsExpected, "all that its spec asks"}, {available, yes, v1alpha1.ReasonPrimaryServing, "db-0"},
			{redundant, yes, v1alpha1.ReasonAsExpected, "one more instance"}, {progressing, no, v1alpha1.ReasonIdle, "nothing to do"},
			{reconciled, yes, v1alpha1.ReasonAsExpected, ""}, {configuration, yes, v1alpha1.ReasonAsExpected, ""},
			{storage, yes, v1alpha1.ReasonAsExpected, ""}, {users, yes, v1alpha1.ReasonAsExpected, "no accounts"}, {consistent, yes, v1alpha1.ReasonAsExpected, ""}, {monitored, yes, v1alpha1.ReasonAsExpected, "told"},
		}},
		"nothing is founded yet": {func(in *Input) { in.unborn(); in.at("db-0").Connected = false }, v1alpha1.SummaryCreating, []finding{
			{ready, no, v1alpha1.ReasonBootstrapping, "db-0"}, {available, no, v1alpha1.ReasonBootstrapping, "db-0"}, {progressing, yes, v1alpha1.ReasonCreating, "db-0"},
		}},
		"a restore that fails": {func(in *Input) {
			in.unborn()
			in.Observation.Spec.Restore = true
			in.at("db-0").Report.Restore = &instance.RestoreReport{State: instance.RestoreFailed, Problem: "connection refused"}
		}, v1alpha1.SummaryCreating, []finding{
			{available, no, v1alpha1.ReasonRestoreFailing, "tries again: connection refused"},
		}},
		"a volume with data and no record": {func(in *Input) { in.unborn(); in.at("db-0").Report.Blank = false }, v1alpha1.SummaryBlocked, []finding{
			{available, no, v1alpha1.ReasonBootstrapping, "not touched"}, {progressing, no, v1alpha1.ReasonBlocked, "not touched"},
		}},
		"an old volume has not reported, failover manual": {func(in *Input) {
			in.unborn()
			in.Observation.Spec.ManualFailover = true
			in.at("db-2").OldVolume, in.at("db-2").Report, in.at("db-2").Connected = true, nil, false
		}, v1alpha1.SummaryBlocked, []finding{
			{available, no, v1alpha1.ReasonBootstrapping, "db-2 has a volume from before"},
		}},
		"a primary that died": {func(in *Input) { in.killed("db-0") }, v1alpha1.SummaryFailingOver, []finding{
			{ready, no, v1alpha1.ReasonFailingOver, "ended"}, {available, no, v1alpha1.ReasonFailingOver, "ended"}, {progressing, yes, v1alpha1.ReasonFailingOver, "ended"},
		}},
		"a primary that was committed": {func(in *Input) {
			in.killed("db-0")
			in.Observation.Record.Epoch = 3
			in.fenced("db-0", "db-1", "db-2")
		}, v1alpha1.SummaryFailingOver, []finding{
			{available, no, v1alpha1.ReasonFailingOver, "becoming the primary"}, {progressing, yes, v1alpha1.ReasonFailingOver, ""},
		}},
		"a primary that is not open yet": {func(in *Input) { in.at("db-0").Report.Serving = false }, v1alpha1.SummaryFailingOver, []finding{
			{available, no, v1alpha1.ReasonPrimaryRecovering, "not open yet"},
		}},
		"a primary that was handed over": {func(in *Input) {
			in.killed("db-0")
			in.Observation.Record.Epoch = 3
			in.fenced("db-0", "db-1", "db-2")
			in.Cluster.Status.Summary = v1alpha1.SummarySwitchingOver
		}, v1alpha1.SummarySwitchingOver, []finding{
			{available, no, v1alpha1.ReasonSwitchingOver, "becoming the primary"}, {progressing, yes, v1alpha1.ReasonSwitchingOver, ""},
		}},
		"a primary that is not heard for a moment": {func(in *Input) {
			in.gone("db-0")
			in.at("db-0").Silence = time.Second
			in.at("db-1").Report.Receiver.Connected, in.at("db-2").Report.Receiver.Connected = false, false
		}, v1alpha1.SummaryDegraded, []finding{{available, unknown, v1alpha1.ReasonNotObserved, "nothing is heard of the primary db-0"}}},
		"a primary that only its voters hear": {func(in *Input) { in.at("db-0").Connected, in.at("db-0").Silence = false, time.Minute }, v1alpha1.SummaryDegraded, []finding{
			{available, unknown, v1alpha1.ReasonNotObserved, "it has its quorum"},
		}},
		"too few voters": {func(in *Input) { in.gone("db-0", "db-1"); in.at("db-2").Report.Receiver.Connected = false }, v1alpha1.SummaryUnavailable, []finding{
			{ready, no, v1alpha1.ReasonQuorumLost, "db-0, db-1, db-2"}, {available, no, v1alpha1.ReasonQuorumLost, "a promotion needs 2"},
			{redundant, no, v1alpha1.ReasonVotersMissing, "db-0, db-1, db-2"}, {progressing, no, v1alpha1.ReasonBlocked, ""},
		}},
		"a lost primary, failover manual": {func(in *Input) {
			in.Observation.Spec.ManualFailover = true
			in.gone("db-0")
			in.at("db-1").Report.Receiver.Connected, in.at("db-2").Report.Receiver.Connected = false, false
		}, v1alpha1.SummaryBlocked, []finding{{available, no, v1alpha1.ReasonManualFailover, "ask for a switchover"}}},
		"a lost primary without another": {func(in *Input) { in.alone(); in.gone("db-0") }, v1alpha1.SummaryUnavailable, []finding{
			{available, no, v1alpha1.ReasonNoFailoverPossible, ""}, {redundant, no, v1alpha1.ReasonSingleInstance, "set spec.instances to 3"},
		}},
		"a cluster of one": {func(in *Input) { in.alone() }, v1alpha1.SummaryHealthy, []finding{
			{ready, yes, v1alpha1.ReasonAsExpected, ""}, {redundant, no, v1alpha1.ReasonSingleInstance, "never redundant"},
		}},
		"a handover": {func(in *Input) {
			in.Observation.Record.Handover = &instance.Handover{To: "db-1", NotAfter: in.Observation.Now.Add(time.Second).UnixMilli(), Why: "asked for by annotation"}
		}, v1alpha1.SummarySwitchingOver, []finding{
			{available, no, v1alpha1.ReasonSwitchingOver, "from db-0 to db-1: asked for by annotation"}, {progressing, yes, v1alpha1.ReasonSwitchingOver, ""},
		}},
		"a voter that is away": {func(in *Input) { in.gone("db-2"); in.at("db-2").UnfitFor = time.Second }, v1alpha1.SummaryDegraded, []finding{
			{ready, no, v1alpha1.ReasonVotersMissing, "db-2"}, {redundant, no, v1alpha1.ReasonVotersMissing, "db-2"}, {progressing, yes, v1alpha1.ReasonRepairing, "db-2"},
			{reconciled, no, v1alpha1.ReasonPodsStarting, "db-2"},
		}},
		"one of two voters joins": {func(in *Input) {
			in.Observation.Record.Voters = []string{"db-0"}
			in.Observation.Spec.Instances, in.Observation.Members = 2, in.Observation.Members[:2]
			in.blank("db-1")
		}, v1alpha1.SummaryScaling, []finding{{redundant, no, v1alpha1.ReasonInstancesJoining, "db-1"}, {progressing, yes, v1alpha1.ReasonScaling, "db-1"}}},
		"the third instance joins": {func(in *Input) { in.Observation.Record.Voters = []string{"db-0", "db-1"}; in.blank("db-2") }, v1alpha1.SummaryScaling, []finding{
			{ready, no, v1alpha1.ReasonScaling, "db-2"}, {redundant, yes, v1alpha1.ReasonAsExpected, "not in step: db-2"}, {progressing, yes, v1alpha1.ReasonScaling, "db-2"},
		}},
		"the third instance follows and has no vote": {func(in *Input) { in.Observation.Record.Voters = []string{"db-0", "db-1"} }, v1alpha1.SummaryDegraded, []finding{
			{ready, no, v1alpha1.ReasonRepairing, "db-2"},
		}},
		"the voters are being changed": {func(in *Input) {
			in.Observation.Record.Change = &instance.VoterChange{Remove: "db-2", Why: "2 instances are wanted"}
		}, v1alpha1.SummaryScaling, []finding{{progressing, yes, v1alpha1.ReasonScaling, "voters"}}},
		"an instance too many": {func(in *Input) { in.Observation.Spec.Instances = 2 }, v1alpha1.SummaryScaling, []finding{{progressing, yes, v1alpha1.ReasonScaling, "db-2"}}},
		"an outdated pod":      {func(in *Input) { in.at("db-1").Pod.Outdated = true }, v1alpha1.SummaryUpdating, []finding{{progressing, yes, v1alpha1.ReasonUpdating, "db-1"}, {ready, no, v1alpha1.ReasonUpdating, "db-1"}}},
		"a restart that is needed": {func(in *Input) { in.at("db-1").Report.RestartNeeded = true }, v1alpha1.SummaryUpdating, []finding{
			{progressing, yes, v1alpha1.ReasonUpdating, "db-1"}, {configuration, yes, v1alpha1.ReasonRestartPending, "db-1"},
		}},
		"a configuration that mysqld refuses": {func(in *Input) { in.at("db-1").Report.ConfigError = "unknown variable 'x=1'" }, v1alpha1.SummaryDegraded, []finding{
			{ready, no, v1alpha1.ReasonConfigurationRefused, "unknown variable"}, {configuration, no, v1alpha1.ReasonConfigurationRefused, "stays as it was"},
		}},
		"nobody has reported": {func(in *Input) {
			in.unborn()
			for i := range in.Observation.Members {
				in.Observation.Members[i].Report, in.Observation.Members[i].Connected = nil, false
			}
		}, v1alpha1.SummaryCreating, []finding{
			{configuration, unknown, v1alpha1.ReasonNotObserved, ""}, {storage, unknown, v1alpha1.ReasonNotObserved, ""}, {reconciled, no, v1alpha1.ReasonPodsStarting, "db-0"},
		}},
		"an object that was refused": {func(in *Input) { in.Failures = []Problem{{Message: "apply the objects: no"}, {Message: "more"}} }, v1alpha1.SummaryDegraded, []finding{
			{ready, no, v1alpha1.ReasonApplyFailed, "apply the objects: no; more"}, {reconciled, no, v1alpha1.ReasonApplyFailed, ""},
		}},
		"a name that is taken": {func(in *Input) {
			in.Failures = []Problem{{Reason: v1alpha1.ReasonNameTaken, Message: "make Service db"}}
		}, v1alpha1.SummaryDegraded, []finding{
			{reconciled, no, v1alpha1.ReasonNameTaken, "Service db"},
		}},
		"a pod without a node": {func(in *Input) { in.PodProblems["db-2"] = Problem{v1alpha1.ReasonUnschedulable, "no room"} }, v1alpha1.SummaryDegraded, []finding{
			{reconciled, no, v1alpha1.ReasonUnschedulable, "db-2: no room"},
		}},
		"a pod of an unwanted instance without a node": {func(in *Input) {
			in.Observation.Spec.Instances = 2
			in.PodProblems["db-2"] = Problem{v1alpha1.ReasonUnschedulable, "no room"}
		}, v1alpha1.SummaryScaling, []finding{{reconciled, yes, v1alpha1.ReasonAsExpected, ""}}},
		"an image that cannot be pulled": {func(in *Input) { in.PodProblems["db-2"] = Problem{v1alpha1.ReasonImageUnusable, "no such image"} }, v1alpha1.SummaryDegraded, []finding{
			{reconciled, no, v1alpha1.ReasonImageUnusable, "no such image"},
		}},
		"an image without mysqld": {func(in *Input) {
			in.at("db-2").Report.ProblemReason, in.at("db-2").Report.Problem = instance.ProblemNoServer, "no mysqld on the PATH"
		}, v1alpha1.SummaryDegraded, []finding{{reconciled, no, v1alpha1.ReasonServerMissing, "set spec.image"}}},
		"a mysqld that does not start": {func(in *Input) {
			in.at("db-2").Report.ProblemReason, in.at("db-2").Report.Problem = instance.ProblemStartFailed, "bad header"
		}, v1alpha1.SummaryDegraded, []finding{{reconciled, no, v1alpha1.ReasonStartFailed, "db-2: bad header"}}},
		"a volume that is almost full":      {func(in *Input) { in.at("db-1").Report.Volume = instance.Volume{Size: 100, Free: 5} }, v1alpha1.SummaryDegraded, []finding{{storage, no, v1alpha1.ReasonVolumeFull, "db-1"}}},
		"a volume that mysqld calls full":   {func(in *Input) { in.at("db-1").Report.ProblemReason = instance.ProblemVolumeFull }, v1alpha1.SummaryDegraded, []finding{{storage, no, v1alpha1.ReasonVolumeFull, "raise spec.storage.size"}}},
		"a volume that is filled to a hair": {func(in *Input) { in.at("db-1").Report.Volume = instance.Volume{Size: 100, Free: 6} }, v1alpha1.SummaryHealthy, []finding{{storage, yes, v1alpha1.ReasonAsExpected, ""}}},
		"a volume that hangs":               {func(in *Input) { in.at("db-1").Report.Stalled = true }, v1alpha1.SummaryDegraded, []finding{{storage, no, v1alpha1.ReasonVolumeStalled, "db-1"}}},
		"a volume that is not there":        {func(in *Input) { in.Claims["db-1"] = Problem{v1alpha1.ReasonVolumePending, "not bound"} }, v1alpha1.SummaryDegraded, []finding{{storage, no, v1alpha1.ReasonVolumePending, "db-1: not bound"}}},
		"a volume that cannot grow":         {func(in *Input) { in.Claims["db-1"] = Problem{v1alpha1.ReasonExpansionRefused, "no"} }, v1alpha1.SummaryDegraded, []finding{{storage, no, v1alpha1.ReasonExpansionRefused, "db-1"}}},
		"a volume that may not grow":        {func(in *Input) { in.Claims["db-1"] = Problem{v1alpha1.ReasonGrowthLimitReached, "raise the limit"} }, v1alpha1.SummaryDegraded, []finding{{storage, no, v1alpha1.ReasonGrowthLimitReached, "db-1: raise the limit"}}},
		"a volume that grows":               {func(in *Input) { in.Claims["db-1"] = Problem{v1alpha1.ReasonResizePending, "growing"} }, v1alpha1.SummaryDegraded, []finding{{storage, no, v1alpha1.ReasonResizePending, ""}, {progressing, yes, v1alpha1.ReasonResizing, "db-1"}}},
		"accounts that exist":               {account, v1alpha1.SummaryHealthy, []finding{{users, yes, v1alpha1.ReasonAsExpected, "exist"}}},
		"accounts that wait for a primary":  {func(in *Input) { account(in); in.killed("db-0") }, v1alpha1.SummaryFailingOver, []finding{{users, unknown, v1alpha1.ReasonAwaitingPrimary, ""}}},
		"an account without a password": {func(in *Input) {
			account(in)
			in.at("db-0").Report.UserErrors = map[string]string{"app": "the Secret has no key app"}
		}, v1alpha1.SummaryDegraded, []finding{{users, no, v1alpha1.ReasonPasswordMissing, "account app"}}},
		"an account that MySQL refuses":        {func(in *Input) { account(in); in.at("db-0").Report.UserErrors = map[string]string{"app": "Error 1396"} }, v1alpha1.SummaryDegraded, []finding{{users, no, v1alpha1.ReasonAccountFailed, "Error 1396"}}},
		"an error of an account that was left": {func(in *Input) { account(in); in.at("db-0").Report.UserErrors = map[string]string{"old": "Error 1396"} }, v1alpha1.SummaryHealthy, []finding{{users, yes, v1alpha1.ReasonAsExpected, ""}}},
		"errant transactions": {func(in *Input) {
			in.at("db-2").Held = in.at("db-2").Held.Union(set("00000000-0000-4000-8000-000000000003:1-2"))
		}, "", []finding{{consistent, no, v1alpha1.ReasonErrantTransactions, "db-2"}, {ready, no, v1alpha1.ReasonErrantTransactions, "archived"}}},
		"transactions that the primary has not told of yet": {func(in *Input) {
			in.at("db-2").Held = in.at("db-2").Held.Union(set("00000000-0000-4000-8000-000000000001:101-120"))
		}, v1alpha1.SummaryHealthy, []finding{{consistent, yes, v1alpha1.ReasonAsExpected, ""}}},
		"an upgrade that waits for a backup": {func(in *Input) { in.Held = "MySQLBackup db-up is taken first" }, v1alpha1.SummaryUpdating, []finding{
			{progressing, yes, v1alpha1.ReasonUpdating, "db-up"},
		}},
		// Whatever is the matter with the watching of a database, the database is ready.
		"an exporter without an image": {func(in *Input) {
			in.ExporterProblems = map[string]string{"db-1": "container exporter does not start: ErrImagePull"}
			in.Monitoring = &Problem{Reason: v1alpha1.ReasonNoPrometheusOperator}
		}, v1alpha1.SummaryHealthy, []finding{{monitored, no, v1alpha1.ReasonExporterDown, "db-1: container exporter"}, {ready, yes, v1alpha1.ReasonAsExpected, ""}}},
		"no prometheus-operator": {func(in *Input) {
			in.Monitoring = &Problem{Reason: v1alpha1.ReasonNoPrometheusOperator, Message: "install it"}
		}, v1alpha1.SummaryHealthy, []finding{{monitored, no, v1alpha1.ReasonNoPrometheusOperator, "install"}, {ready, yes, v1alpha1.ReasonAsExpected, ""}}},
		"no permission for monitoring": {func(in *Input) {
			in.Monitoring = &Problem{Reason: v1alpha1.ReasonMonitoringForbidden, Message: "the role lacks it"}
		}, v1alpha1.SummaryHealthy, []finding{{monitored, no, v1alpha1.ReasonMonitoringForbidden, "role"}, {ready, yes, v1alpha1.ReasonAsExpected, ""}}},
		"monitoring that was not looked at": {func(in *Input) {
			in.Monitoring = &Problem{Reason: v1alpha1.ReasonNotObserved, Message: "not found out yet"}
		}, v1alpha1.SummaryHealthy, []finding{{monitored, unknown, v1alpha1.ReasonNotObserved, "yet"}}},
		"monitoring that is switched off": {func(in *Input) { in.Cluster.Spec.Monitoring.Exporter = v1alpha1.ExporterNone }, v1alpha1.SummaryHealthy, []finding{
			{monitored, no, v1alpha1.ReasonMonitoringOff, "None"}, {ready, yes, v1alpha1.ReasonAsExpected, ""},
		}},
	}
	protected := backupCases()
	maps.Copy(protected, drillCases())
	for name, c := range protected {
		out[name] = test{c.change, v1alpha1.SummaryHealthy, []finding{
			c.want, {ready, yes, v1alpha1.ReasonAsExpected, ""},
		}}
	}
	return out
}

func TestConditions(t *testing.T) {
	for name, test := range cases() {
		t.Run(name, func(t *testing.T) {
			in := scene()
			test.change(in)
			got := Derive(decided(in))
			for _, want := range test.want {
				c := find(got.Conditions, want.kind)
				if c.Status != want.status || c.Reason != want.reason || !strings.Contains(c.Message, want.words) || c.Message == "" {
					t.Errorf("%s is %s, %s: %q; want %s, %s: %q (state %s: %s)", want.kind, c.Status, c.Reason, c.Message,
						want.status, want.reason, want.words, in.Plan.State, in.Plan.Why)
				}
			}
			if test.summary != "" && got.Summary != test.summary {
				t.Errorf("summary %s, want %s (state %s: %s)", got.Summary, test.summary, in.Plan.State, in.Plan.Why)
			}
			if ready := find(got.Conditions, v1alpha1.ConditionReady).Status == yes; ready != (got.Summary == v1alpha1.SummaryHealthy) {
				t.Errorf("ready: %v, summary %s", ready, got.Summary)
			}
		})
	}
}

// TestEveryConditionAndReasonIsReached holds the cases to the API: a type or reason that is documented and never used is a
// lie.
func TestEveryConditionAndReasonIsReached(t *testing.T) {
	types, reasons := map[string]bool{}, map[string]bool{}
	note := func(conditions []metav1.Condition) {
		for _, c := range conditions {
			types[c.Type], reasons[c.Reason] = true, true
		}
	}
	for _, test := range cases() {
		in := scene()
		test.change(in)
		note(Derive(decided(in)).Conditions)
	}
	note(Retiring())
	for _, kind := range Types() {
		if !types[kind] {
			t.Errorf("no case has condition %s", kind)
		}
	}
	for kind := range types {
		if !slices.Contains(Types(), kind) {
			t.Errorf("condition %s has no place in the order", kind)
		}
	}
	for name, reason := range documented(t) {
		if !reasons[reason] {
			t.Errorf("no case reaches %s", name)
		}
	}
}

// TestMessagesDoNotCount changes everything that only ever counts or ticks: the status must stay what it was, or it would
// be written again and again.
func TestMessagesDoNotCount(t *testing.T) {
	clock := regexp.MustCompile(`\d{2}:\d{2}:\d{2}|\d{4}-\d{2}-\d{2}`)
	for name, test := range cases() {
		t.Run(name, func(t *testing.T) {
			in := scene()
			test.change(in)
			before := Derive(decided(in))
			in.Observation.Now = in.Observation.Now.Add(300 * time.Millisecond)
			for i := range in.Observation.Members {
				m := &in.Observation.Members[i]
				m.UnfitFor += time.Millisecond
				m.Silence += time.Millisecond
				if m.Report == nil {
					continue
				}
				r := m.Report
				r.Starts += 3
				r.WaitingCommits += 7
				r.Applier.LagSeconds += 2
				r.Receiver.SilentMillis += 1000
				r.Volume.Free--
				if r.Volume.Free < 6 {
					r.Volume.Free++
				}
				// The primary goes on writing, and the replicas hold it.
				if !r.Blank {
					more := set("00000000-0000-4000-8000-000000000001:101-105")
					m.Executed, m.Held = m.Executed.Union(more), m.Held.Union(more)
				}
			}
			after := Derive(decided(in))
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("the status has changed with nothing but time (-before +after):\n%s", diff)
			}
			for _, c := range after.Conditions {
				if clock.MatchString(c.Message) {
					t.Errorf("%s tells the time: %q", c.Type, c.Message)
				}
			}
		})
	}
}

func TestInstances(t *testing.T) {
	for name, test := range map[string]struct {
		change func(in *Input)
		want   v1alpha1.InstanceStatus
	}{
		"a replica at work": {func(*Input) {}, v1alpha1.InstanceStatus{Role: "Replica", State: "Running", Ready: true, Voter: true, Version: "9.7.1"}},
		"no pod":            {func(in *Input) { in.gone("db-1") }, v1alpha1.InstanceStatus{State: "Unknown", Voter: true, Version: "9.7.1", Message: "it has no pod"}},
		"a pod's problem comes first": {func(in *Input) { in.PodProblems["db-1"] = Problem{"X", "no room"}; in.gone("db-1") },
			v1alpha1.InstanceStatus{State: "Unknown", Voter: true, Version: "9.7.1", Message: "no room"}},
		"an agent that never spoke": {func(in *Input) { in.at("db-1").Report, in.at("db-1").Connected = nil, false },
			v1alpha1.InstanceStatus{State: "Unknown", Voter: true, Message: "its agent has not reported yet"}},
		"an agent that speaks otherwise": {func(in *Input) {
			in.at("db-1").Report, in.at("db-1").Connected = nil, false
			in.Unreadable["db-1"] = "its GTID sets cannot be read"
		}, v1alpha1.InstanceStatus{State: "Unknown", Voter: true, Message: "its GTID sets cannot be read"}},
		"an agent that is silent": {func(in *Input) { in.at("db-1").Connected = false },
			v1alpha1.InstanceStatus{State: "Unknown", Voter: true, Version: "9.7.1", Message: "its agent is not heard"}},
		"a problem": {func(in *Input) { in.at("db-1").Report.Problem = "no space" },
			v1alpha1.InstanceStatus{Role: "Replica", State: "Running", Ready: true, Voter: true, Version: "9.7.1", Message: "no space"}},
		"a refusal": {func(in *Input) { in.at("db-1").Report.RefusedWhy = "term 2 is over" },
			v1alpha1.InstanceStatus{Role: "Replica", State: "Running", Ready: true, Voter: true, Version: "9.7.1", Message: "it refused what it was told: term 2 is over"}},
		"a stalled volume": {func(in *Input) { in.at("db-1").Report.Stalled = true },
			v1alpha1.InstanceStatus{Role: "Replica", State: "Running", Ready: true, Voter: true, Version: "9.7.1", Message: "its volume or mysqld does not answer"}},
		"a pod that ends": {func(in *Input) { in.at("db-1").Report.Terminating = true },
			v1alpha1.InstanceStatus{Role: "Replica", State: "Running", Voter: true, Version: "9.7.1", Message: "its pod was asked to stop"}},
		"an applier that stopped": {func(in *Input) {
			in.at("db-1").Report.Applier = instance.Applier{ErrorNumber: 1062, Error: "duplicate"}
		},
			v1alpha1.InstanceStatus{Role: "Replica", State: "Running", Voter: true, Version: "9.7.1", Message: "it cannot apply: duplicate"}},
		"a receiver that tries again": {func(in *Input) {
			in.at("db-1").Report.Receiver.Connected = false
			in.at("db-1").Report.Receiver.Error = "Error reconnecting to source 'x@10.0.0.1:3306'. This was attempt 3/86400, with a delay of 1 seconds between attempts. Message: refused"
		}, v1alpha1.InstanceStatus{Role: "Replica", State: "Running", Voter: true, Version: "9.7.1",
			Message: "it cannot receive: Error reconnecting to source 'x@10.0.0.1:3306'. Message: refused"}},
		"an old error of a receiver at work": {func(in *Input) { in.at("db-1").Report.Receiver.Error = "was cut off" },
			v1alpha1.InstanceStatus{Role: "Replica", State: "Running", Ready: true, Voter: true, Version: "9.7.1"}},
		"a wrong configuration": {func(in *Input) { in.at("db-1").Report.ConfigError = "unknown variable" },
			v1alpha1.InstanceStatus{Role: "Replica", State: "Running", Ready: true, Voter: true, Version: "9.7.1", Message: "it keeps its old configuration: unknown variable"}},
		"a restart to come": {func(in *Input) { in.at("db-1").Report.RestartNeeded = true },
			v1alpha1.InstanceStatus{Role: "Replica", State: "Running", Ready: true, Voter: true, Version: "9.7.1", Message: "its new configuration waits for a restart"}},
		"a clone": {func(in *Input) {
			in.at("db-1").Report.State, in.at("db-1").Report.Role = instance.StateCloning, instance.RoleClone
		}, v1alpha1.InstanceStatus{Role: "Clone", State: "Cloning", Voter: true, Version: "9.7.1", Message: "it is copying the primary's data"}},
		"a restore in place of a clone": {func(in *Input) {
			in.at("db-1").Report.State, in.at("db-1").Report.Role = instance.StateCloning, instance.RoleClone
			in.at("db-1").Report.Seed = &instance.RestoreReport{State: instance.RestoreReplaying, Done: 19, Of: 40, Plan: "full backup x and 40 pieces of the archive"}
		}, v1alpha1.InstanceStatus{Role: "Clone", State: "Cloning", Voter: true, Version: "9.7.1",
			Message: "it is made from full backup x and 40 pieces of the archive: replaying, 40 % done"}},
		"a clone after a restore that failed": {func(in *Input) {
			in.at("db-1").Report.State, in.at("db-1").Report.Role = instance.StateCloning, instance.RoleClone
			in.at("db-1").Report.Seed = &instance.RestoreReport{State: instance.RestoreFailed, Problem: "it is damaged"}
		}, v1alpha1.InstanceStatus{Role: "Clone", State: "Cloning", Voter: true, Version: "9.7.1", Message: "it is copying the primary's data"}},
	} {
		t.Run(name, func(t *testing.T) {
			in := scene()
			test.change(in)
			test.want.Name = "db-1"
			if diff := cmp.Diff(test.want, Derive(decided(in)).Instances[1]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNumbersAndEndpoints(t *testing.T) {
	in := scene()
	in.gone("db-2")
	got := Derive(decided(in))
	if got.Ready != "2/3" || got.ReadyInstances != 2 || got.Version != "9.7.1" || got.ObservedGeneration != 4 {
		t.Errorf("ready %s (%d), version %s, generation %d", got.Ready, got.ReadyInstances, got.Version, got.ObservedGeneration)
	}
	want := v1alpha1.Endpoints{ReadWrite: "db.shop.svc:3306", ReadOnly: "db-ro.shop.svc:3306", Read: "db-r.shop.svc:3306"}
	if diff := cmp.Diff(want, got.Endpoints); diff != "" {
		t.Error(diff)
	}
	in = scene()
	in.Observation.Spec.Instances = 2
	if got := Derive(decided(in)); got.Ready != "2/2" {
		t.Errorf("an instance too many counts: %s", got.Ready)
	}
}

func TestMessagesFitTheAPI(t *testing.T) {
	in := scene()
	in.at("db-1").Report.Problem = strings.Repeat("ä", 3000)
	in.Failures = []Problem{{Message: strings.Repeat("ö", 3000)}}
	got := Derive(decided(in))
	for _, text := range []string{got.Instances[1].Message, find(got.Conditions, v1alpha1.ConditionReconciled).Message} {
		if len(text) > 1024 || len(text) < 900 || !utf8.ValidString(text) {
			t.Errorf("a message of %d bytes, valid: %v", len(text), utf8.ValidString(text))
		}
	}
}

func TestEveryCommitHasAnEvent(t *testing.T) {
	for _, kind := range []topology.CommitKind{
		topology.CommitBootstrap, topology.CommitAdopt, topology.CommitPromote, topology.CommitForcePromote, topology.CommitRenew,
		topology.CommitTakeOver, topology.CommitHandover, topology.CommitSwitchover, topology.CommitHandoverGivenUp,
		topology.CommitChange, topology.CommitVoters, topology.CommitChangeGivenUp,
	} {
		e := CommitEvent(topology.Commit{Kind: kind, Why: "because", To: instance.Record{Epoch: 3, Primary: "db-1", Voters: []string{"db-0", "db-1"}}})
		if e.Reason != string(kind) || e.Type == "" || e.Action == "" || !strings.Contains(e.Note, "because") || !strings.Contains(e.Note, "db-0, db-1") {
			t.Errorf("%s: %+v", kind, e)
		}
	}
	refused := Answered(topology.DoneRequest{Request: topology.RequestSwitchover, Refused: "nobody can"})
	if refused.Reason != "RequestRefused" || !strings.Contains(refused.Note, "nobody can") {
		t.Errorf("%+v", refused)
	}
}
