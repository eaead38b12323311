// Package report tells the user: it writes the derived part of the status, in one write and only if it has changed,
// sends events on transitions, and keeps the metrics.
package report

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	ac "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/act"
	"github.com/kapok-operators/kapok/operators/mysql/internal/growth"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/observe"
	"github.com/kapok-operators/kapok/operators/mysql/internal/protect"
	"github.com/kapok-operators/kapok/operators/mysql/internal/status"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
	"github.com/kapok-operators/kapok/shared/condition"
	"github.com/kapok-operators/kapok/shared/event"
)

// statusOwner is the field owner of the derived part of the status; the record has another.
const statusOwner = "kapok-mysql-status"

// Reporter writes statuses and events.
type Reporter struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Events sends events.
	Events *event.Emitter
	// Metrics are kept up to date; nil keeps none.
	Metrics *Metrics
	// Now is the clock.
	Now func() time.Time
}

// Protection is what was decided about backups.
type Protection struct {
	protect.Decision
	// Held is why instances are not made anew with another image yet; "" if nothing holds them.
	Held string
}

// Report tells what one round of the loop found and did. After a commit the status waits for the next round, which
// follows at once, and so it does in haste: a failover does not wait for a write that only people read.
func (r *Reporter) Report(
	ctx context.Context, obs *observe.Observation, plan topology.Plan, protection Protection, out act.Outcome, care act.Care,
) error {
	r.events(obs, plan, out)
	describe(ctx, obs, plan)
	r.Metrics.round(key(obs), trace.SpanContextFromContext(ctx), obs.Topology, out, r.Now())
	if out.Committed != nil || out.Overtaken || care == act.Haste {
		return nil
	}
	in := input(obs, plan, out)
	in.ScheduleProblem, in.Held, in.Drill = protection.ScheduleProblem, protection.Held, protection.Drill
	derived := status.Derive(in)
	r.Metrics.set(key(obs), status.Measured(in, derived), obs.Pods)
	return r.write(ctx, obs.Cluster, derived)
}

// describe tells the span of the round where the cluster stands, so that the rounds of one failover can be found by their
// epoch.
func describe(ctx context.Context, obs *observe.Observation, plan topology.Plan) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	record := obs.Topology.Record
	span.SetAttributes(
		attribute.Int64("mysql.epoch", int64(record.Epoch)), //nolint:gosec // Epochs count failovers.
		attribute.String("mysql.primary", record.Primary),
		attribute.String("mysql.state", string(plan.State)),
		attribute.String("mysql.why", plan.Why),
	)
}

// Protected sends the events of what was decided about backups.
func (r *Reporter) Protected(cluster *v1alpha1.MySQLCluster, protection protect.Decision) {
	for _, c := range protection.Create {
		r.Events.EmitOnce(cluster, "backup", c.Name, status.BackupMade(c.Name, c.Why))
	}
	for i := range protection.Updates {
		if u := &protection.Updates[i]; u.Ended() {
			r.Events.EmitOnce(&u.Backup, "ended", string(u.Status.Phase), status.BackupEnded(u.Status))
		}
	}
	r.drilled(cluster, protection.Drill)
	for i := range protection.Delete {
		d := &protection.Delete[i]
		r.Events.EmitOnce(&d.Backup, "expired", string(d.Backup.UID), status.BackupExpired(d.Why))
	}
}

// drilled sends the events of a restore drill that the status does not tell of yet: of its beginning once its cluster is there, which the API server
// may have refused to make.
func (r *Reporter) drilled(cluster *v1alpha1.MySQLCluster, drill protect.Drill) {
	var before *v1alpha1.DrillStatus
	if b := cluster.Status.Backup; b != nil {
		before = b.Drill
	}
	now := drill.Status
	switch {
	case drill.Ended(before):
		r.Events.EmitOnce(cluster, "drilled", now.Due.UTC().Format(time.RFC3339), status.DrillEnded(*now))
	case now != nil && now.Result == v1alpha1.DrillRunning && (before == nil || !before.Due.Equal(&now.Due)):
		r.Events.EmitOnce(cluster, "drill", now.Due.UTC().Format(time.RFC3339), status.DrillBegun(protect.DrillName(cluster.Name)))
	}
}

// Forget drops the metrics of a cluster that is gone.
func (r *Reporter) Forget(name types.NamespacedName) { r.Metrics.forget(name) }

// Unknown says that a cluster could not be looked at.
func (r *Reporter) Unknown(ctx context.Context, name types.NamespacedName, why error) error {
	var cluster v1alpha1.MySQLCluster
	if err := r.Client.Get(ctx, name, &cluster); err != nil {
		return client.IgnoreNotFound(err)
	}
	conditions := condition.AllUnknown(status.Types(), v1alpha1.ReasonNotObserved, why.Error())
	r.Metrics.set(name, status.Measure{Phase: v1alpha1.SummaryUnknown, Conditions: conditions}, nil)
	return r.write(ctx, &cluster, kept(&cluster, v1alpha1.SummaryUnknown, conditions))
}

// Retiring says that a cluster is being deleted. What was found about it last stays as it is.
func (r *Reporter) Retiring(ctx context.Context, cluster *v1alpha1.MySQLCluster) error {
	r.Metrics.set(client.ObjectKeyFromObject(cluster), status.Measure{Phase: v1alpha1.SummaryDeleting, Conditions: status.Retiring()}, nil)
	return r.write(ctx, cluster, kept(cluster, v1alpha1.SummaryDeleting, status.Retiring()))
}

// kept is the status as it is, but for summary and conditions.
func kept(cluster *v1alpha1.MySQLCluster, summary v1alpha1.Summary, conditions []metav1.Condition) status.Status {
	out := status.Status{
		ObservedGeneration: cluster.Generation, ObservedEpoch: cluster.Status.ObservedEpoch, ObservedTerm: cluster.Status.ObservedTerm,
		Summary: summary, Ready: cluster.Status.Ready, ReadyInstances: cluster.Status.ReadyInstances, Version: cluster.Status.Version, Instances: cluster.Status.Instances,
		Conditions: conditions, Backup: cluster.Status.Backup,
	}
	if e := cluster.Status.Endpoints; e != nil {
		out.Endpoints = *e
	}
	return out
}

// events sends what happened in this round. Commits, deletions and answers are transitions by themselves; states are
// compared with the last one sent.
func (r *Reporter) events(obs *observe.Observation, plan topology.Plan, out act.Outcome) {
	about := obs.Cluster
	if c := out.Committed; c != nil {
		r.Events.Emit(about, status.CommitEvent(*c))
	}
	if out.Deleted != "" && plan.Delete != nil {
		r.Events.Emit(about, status.Replaced(out.Deleted, plan.Delete.Why))
	}
	for _, g := range out.Grown {
		r.Events.Emit(about, status.VolumeGrown(g.Instance, g.From, g.To, g.Why))
	}
	for _, done := range out.Answered {
		r.Events.Emit(about, status.Answered(done))
	}
	for _, d := range plan.Directives {
		if d.Directive.Role == instance.RoleStandby && d.Directive.Epoch > obs.Topology.Record.Epoch {
			r.Events.EmitOnce(about, "lost", fmt.Sprint(obs.Topology.Record.Epoch), status.Lost(plan.Why))
		}
		if clone := d.Directive.Clone; d.Directive.Role == instance.RoleClone {
			r.Events.EmitOnce(about, "clone/"+d.Member, fmt.Sprint(d.Directive.Epoch, clone.Why, clone.Seed != nil), status.Rebuilding(d.Member, d.Why, clone.Seed != nil))
		}
	}
	for i := range obs.Topology.Members {
		if m := &obs.Topology.Members[i]; m.Report != nil {
			r.told(about, m.Name, m.Report)
		}
	}
}

// told sends the events of what an instance says that it has done.
func (r *Reporter) told(about event.Object, member string, said *instance.Report) {
	if n := len(said.Archives); n > 0 {
		folder := said.Archives[n-1]
		r.Events.EmitOnce(about, "archive/"+member, folder, status.Archived(member, folder))
	}
	if said.Seed != nil {
		if e, ok := status.Seeded(member, *said.Seed); ok {
			r.Events.EmitOnce(about, "seed/"+member, fmt.Sprint(said.Seed.State, said.Seed.Plan, said.Seed.Problem), e)
		}
	}
	if said.Rejoin != nil {
		if e, ok := status.Rejoined(member, *said.Rejoin); ok {
			r.Events.EmitOnce(about, "rejoin/"+member, fmt.Sprint(said.Rejoin.Epoch, said.Rejoin.Doubt), e)
		}
	}
}

func input(obs *observe.Observation, plan topology.Plan, out act.Outcome) status.Input {
	in := status.Input{
		Cluster: obs.Cluster, Observation: obs.Topology, Plan: plan, Unreadable: obs.Unreadable, UsersSecret: manifest.UsersSecretName(obs.Cluster),
		PodProblems: make(map[string]status.Problem, len(obs.PodProblems)), Claims: make(map[string]status.Problem),
		ExporterProblems: obs.ExporterProblems, Backups: obs.Backups,
	}
	for name, p := range obs.PodProblems {
		in.PodProblems[name] = status.Problem{Reason: p.Reason, Message: p.Message}
	}
	for name, claim := range obs.Claims {
		if problem, ok := claimProblem(claim); ok {
			in.Claims[name] = problem
			continue
		}
		if problem, ok := growthProblem(obs.Growth(name)); ok {
			in.Claims[name] = problem
		}
	}
	for _, f := range out.Failures {
		if f.Claim != "" {
			in.Claims[f.Claim] = status.Problem{Reason: f.Reason, Message: f.Err.Error()}
			continue
		}
		if f.Backup {
			in.BackupProblem = &status.Problem{Reason: v1alpha1.ReasonApplyFailed, Message: fmt.Sprintf("%s: %v", f.What, f.Err)}
			continue
		}
		if f.Monitoring {
			in.Monitoring = &status.Problem{Reason: f.Reason, Message: fmt.Sprintf("%s: %v", f.What, f.Err)}
			continue
		}
		in.Failures = append(in.Failures, status.Problem{Reason: f.Reason, Message: fmt.Sprintf("%s: %v", f.What, f.Err)})
	}
	return in
}

// claimProblem says what a volume claim waits for.
func claimProblem(claim *corev1.PersistentVolumeClaim) (status.Problem, bool) {
	want, have := claim.Spec.Resources.Requests[corev1.ResourceStorage], claim.Status.Capacity[corev1.ResourceStorage]
	switch {
	case claim.Status.Phase == corev1.ClaimLost:
		return status.Problem{Reason: v1alpha1.ReasonVolumePending, Message: "the volume of its claim is lost"}, true
	case claim.Status.Phase != corev1.ClaimBound:
		return status.Problem{Reason: v1alpha1.ReasonVolumePending, Message: "its volume claim is not bound yet"}, true
	case have.Cmp(want) < 0:
		return status.Problem{Reason: v1alpha1.ReasonResizePending,
			Message: fmt.Sprintf("its volume of %s is being enlarged to %s", have.String(), want.String())}, true
	}
	return status.Problem{}, false
}

// growthProblem says why a volume that lacks free space does not grow now.
func growthProblem(decision growth.Decision) (status.Problem, bool) {
	switch decision.Verdict {
	case growth.AtLimit:
		return status.Problem{Reason: v1alpha1.ReasonGrowthLimitReached, Message: decision.Why}, true
	case growth.Growing:
		return status.Problem{Reason: v1alpha1.ReasonResizePending, Message: decision.Why}, true
	case growth.Stays, growth.Asked, growth.Step, growth.Unheard:
	}
	return status.Problem{}, false
}

// write applies the derived status unless it is there already.
func (r *Reporter) write(ctx context.Context, cluster *v1alpha1.MySQLCluster, derived status.Status) error {
	conditions := condition.Merge(status.Types(), cluster.Status.Conditions, derived.Conditions, cluster.Generation, metav1.NewTime(r.Now()))
	want := v1alpha1.MySQLClusterStatus{
		ObservedGeneration: derived.ObservedGeneration, ObservedEpoch: derived.ObservedEpoch, ObservedTerm: derived.ObservedTerm,
		Summary: derived.Summary, Ready: derived.Ready,
		ReadyInstances: derived.ReadyInstances, Version: derived.Version, Endpoints: &derived.Endpoints,
		Record: cluster.Status.Record, Conditions: conditions, Instances: derived.Instances, Backup: derived.Backup,
	}
	if same(want, cluster.Status) {
		return nil
	}
	desired := ac.MySQLCluster(cluster.Name, cluster.Namespace).WithUID(cluster.UID).WithStatus(configuration(derived, conditions))
	err := r.Client.Status().Apply(ctx, desired, client.FieldOwner(statusOwner), client.ForceOwnership)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write the status of %s: %w", cluster.Name, err)
	}
	return nil
}

// same compares statuses; transition times are those of the old one wherever the status has not changed.
func same(a, b v1alpha1.MySQLClusterStatus) bool {
	normal := func(s v1alpha1.MySQLClusterStatus) v1alpha1.MySQLClusterStatus {
		s = *s.DeepCopy()
		for i := range s.Conditions {
			s.Conditions[i].LastTransitionTime = metav1.Time{}
		}
		return s
	}
	return equality.Semantic.DeepEqual(normal(a), normal(b))
}

func configuration(s status.Status, conditions []metav1.Condition) *ac.MySQLClusterStatusApplyConfiguration {
	out := ac.MySQLClusterStatus().WithObservedGeneration(s.ObservedGeneration).
		WithObservedEpoch(s.ObservedEpoch).WithObservedTerm(s.ObservedTerm).WithSummary(s.Summary).WithReady(s.Ready).
		WithReadyInstances(s.ReadyInstances).WithVersion(strings.ToValidUTF8(s.Version, "")).
		WithEndpoints(ac.Endpoints().WithReadWrite(s.Endpoints.ReadWrite).WithReadOnly(s.Endpoints.ReadOnly).WithRead(s.Endpoints.Read)).
		WithConditions(condition.Apply(conditions)...)
	if b := s.Backup; b != nil {
		out.WithBackup(backup(*b))
	}
	for _, i := range s.Instances {
		out.WithInstances(ac.InstanceStatus().WithName(i.Name).WithRole(i.Role).WithState(i.State).WithReady(i.Ready).
			WithVoter(i.Voter).WithVersion(i.Version).WithMessage(i.Message))
	}
	return out
}

func backup(s v1alpha1.BackupStatus) *ac.BackupStatusApplyConfiguration {
	out := ac.BackupStatus().WithFulls(s.Fulls)
	out.RestorableFrom, out.RestorableTo, out.LastFullAt = s.RestorableFrom, s.RestorableTo, s.LastFullAt
	if s.LastFull != "" {
		out.WithLastFull(s.LastFull)
	}
	if d := s.Drill; d != nil {
		drill := ac.DrillStatus().WithDue(d.Due).WithResult(d.Result).WithTables(d.Tables).WithCompared(d.Compared).WithMessage(d.Message)
		drill.StartedAt, drill.FinishedAt, drill.Took, drill.LastPassedAt = d.StartedAt, d.FinishedAt, d.Took, d.LastPassedAt
		if d.Request != "" {
			drill.WithRequest(d.Request)
		}
		out.WithDrill(drill)
	}
	return out
}
