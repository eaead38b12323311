package act

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/observe"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
	"github.com/kapok-operators/kapok/shared/link"
	"github.com/kapok-operators/kapok/shared/observability"
)

// Sender gives agents their directives.
type Sender interface {
	// Send is a no-op for what was sent last; it never blocks. The span of the context goes with it.
	Send(ctx context.Context, key link.PeerKey, payload json.RawMessage) error
	// Get returns what is known about a pod's agent.
	Get(namespace, pod string) (link.Peer, bool)
}

// Memory is told of commits.
type Memory interface {
	// Committed receives the custom resource as it was written or read live.
	Committed(cluster *v1alpha1.MySQLCluster)
}

// Objects brings the Kubernetes objects of a cluster to what they should be.
type Objects interface {
	// Apply writes what differs and nothing else.
	Apply(ctx context.Context, obs *observe.Observation, plan topology.Plan) Applied
	// Redirect is the part of Apply that writers wait for: it points the read-write Service at the primary.
	Redirect(ctx context.Context, obs *observe.Observation, plan topology.Plan) []Failure
}

// Applied is what came of Apply.
type Applied struct {
	// Grown are the volume claims that were enlarged, Failures what went wrong.
	Grown    []Grown
	Failures []Failure
}

// Grown is a volume claim that was enlarged.
type Grown struct {
	// Instance is whose volume it is, From and To are what its claim asked for before and asks for now.
	Instance, From, To string
	// Why is the reason, for people.
	Why string
}

// Care says how much of a round is done.
type Care int

// The levels of care.
const (
	// Whole: everything.
	Whole Care = iota
	// Haste: only what writers wait for, while there is no primary to write to. Writes to the API server that only
	// surround the instances would hold up the next decision.
	Haste
)

// Actor carries out plans.
type Actor struct {
	// Client writes; its reads are cached. Live reads from the API server.
	Client client.Client
	Live   client.Reader
	Agents Sender
	Memory Memory
	// Objects applies what surrounds the instances.
	Objects Objects
	// Telemetry records each action; nil records none.
	Telemetry *observability.Telemetry
}

// The names of actions in metrics and traces.
const (
	actionKeep     = "keep"
	actionCommit   = "commit"
	actionDirect   = "direct"
	actionSurround = "surround"
	actionRedirect = "redirect"
	actionDelete   = "delete pod"
	actionAnswer   = "answer"
	actionVolumes  = "give up volumes"
	actionRelease  = "release"
	actionBackup   = "keep backup"
	actionDrill    = "drill"
)

// Failure is something that could not be done.
type Failure struct {
	// What names the object or step, for people.
	What string
	// Err is why.
	Err error
	// Reason is a condition reason if there is one that says more than that something failed.
	Reason string
	// Claim names the instance whose volume claim it is about; empty if it is about none.
	Claim string
	// Monitoring says that it is about what watches the database, not the database: it is told, and nothing waits for it.
	Monitoring bool
	// Backup says the same of backups.
	Backup bool
}

// Outcome is what came of a plan.
type Outcome struct {
	// Committed is the plan's commit if it was made.
	Committed *topology.Commit
	// Overtaken says that the record or a pod had changed since it was observed, so that the plan was dropped.
	Overtaken bool
	// Deleted names the pod that was deleted.
	Deleted string
	// Grown are the volume claims that were enlarged.
	Grown []Grown
	// Answered are the one-time requests that were taken off the custom resource.
	Answered []topology.DoneRequest
	// Failures are what went wrong.
	Failures []Failure
}

// Err returns the failures as one error; nil if there are none. What watches the database is not among them, nor its backups: a missing
// permission for them must not slow down the rounds on which a failover rests.
func (o Outcome) Err() error {
	errs := make([]error, 0, len(o.Failures))
	for _, f := range o.Failures {
		if f.Monitoring || f.Backup {
			continue
		}
		errs = append(errs, fmt.Errorf("%s: %w", f.What, f.Err))
	}
	return errors.Join(errs...)
}

// Act carries out the plan. A commit is made alone; what follows from it comes with the next plan.
func (a *Actor) Act(ctx context.Context, obs *observe.Observation, plan topology.Plan, care Care) Outcome {
	var out Outcome
	if err := a.Keep(ctx, obs.Cluster); err != nil {
		out.Failures = append(out.Failures, Failure{What: "keep the cluster", Err: err})
		return out
	}
	answer := func() {
		if len(plan.Done) > 0 {
			a.recorded(ctx, actionAnswer, &out, func(ctx context.Context) { a.answer(ctx, obs.Cluster, plan.Done, &out) })
		}
	}
	if plan.Commit != nil {
		a.recorded(ctx, actionCommit, &out, func(ctx context.Context) { a.commit(ctx, obs, *plan.Commit, &out) },
			attribute.String("mysql.step", string(plan.Commit.Kind)), attribute.String("mysql.why", plan.Commit.Why),
			attribute.Int64("mysql.epoch", int64(plan.Commit.To.Epoch)), //nolint:gosec // Epochs count failovers.
			attribute.String("mysql.primary", plan.Commit.To.Primary))
		if out.Committed != nil {
			answer()
		}
		return out
	}
	a.recorded(ctx, actionDirect, &out, func(ctx context.Context) { a.direct(ctx, obs, plan, &out) })
	surround := actionSurround
	if care == Haste {
		surround = actionRedirect
	}
	a.recorded(ctx, surround, &out, func(ctx context.Context) {
		applied := a.surround(ctx, obs, plan, care)
		out.Grown, out.Failures = applied.Grown, append(out.Failures, applied.Failures...)
	})
	if plan.Delete != nil {
		a.recorded(ctx, actionDelete, &out, func(ctx context.Context) { a.deletePod(ctx, obs, *plan.Delete, &out) },
			pod(obs, plan.Delete.Member)...)
	}
	answer()
	return out
}

// recorded carries out one action. What went wrong in it is what it adds to the failures.
func (a *Actor) recorded(ctx context.Context, name string, out *Outcome, act func(context.Context), about ...attribute.KeyValue) {
	ctx, action := a.Telemetry.Begin(ctx, name)
	action.Set(about...)
	before := len(out.Failures)
	act(ctx)
	action.End(Outcome{Failures: out.Failures[before:]}.Err())
}

// pod are the attributes of an action on a pod.
func pod(obs *observe.Observation, member string) []attribute.KeyValue {
	out := []attribute.KeyValue{observability.AttributePod.String(member)}
	if seen := obs.Pods[member]; seen != nil {
		out = append(out, observability.AttributePodUID.String(string(seen.UID)))
	}
	return out
}

// surround brings the Kubernetes objects of the cluster to what they should be.
func (a *Actor) surround(ctx context.Context, obs *observe.Observation, plan topology.Plan, care Care) Applied {
	if care == Haste {
		return Applied{Failures: a.Objects.Redirect(ctx, obs, plan)}
	}
	if taken := a.taken(ctx, obs.Cluster); len(taken) > 0 {
		return Applied{Failures: taken}
	}
	return a.Objects.Apply(ctx, obs, plan)
}

// direct sends every member its directive. A link that breaks meanwhile is no failure: the directive is sent again when
// the agent is back.
func (a *Actor) direct(ctx context.Context, obs *observe.Observation, plan topology.Plan, out *Outcome) {
	for _, d := range plan.Directives {
		peer, ok := a.Agents.Get(obs.Cluster.Namespace, d.Member)
		pod := obs.Pods[d.Member]
		if !ok || pod == nil || string(pod.UID) != peer.Key.UID {
			continue
		}
		payload, err := json.Marshal(d.Directive)
		if err == nil {
			err = a.Agents.Send(ctx, peer.Key, payload)
		}
		if err != nil && !errors.Is(err, link.ErrNotConnected) {
			out.Failures = append(out.Failures, Failure{What: "direct " + d.Member, Err: err})
		}
	}
}

// deletePod deletes a pod if the live record and the live pod are still those of the plan.
func (a *Actor) deletePod(ctx context.Context, obs *observe.Observation, plan topology.DeletePod, out *Outcome) {
	fail := func(err error) {
		out.Failures = append(out.Failures, Failure{What: "delete pod " + plan.Member, Err: err})
	}
	live, err := a.live(ctx, obs.Cluster)
	if err != nil {
		fail(err)
		return
	}
	if !sameRecord(observe.Record(live.Status.Record), obs.Topology.Record) {
		out.Overtaken = true
		return
	}
	seen := obs.Pods[plan.Member]
	if seen == nil {
		out.Overtaken = true
		return
	}
	// The precondition makes the API server refuse if the pod is another one by now.
	err = a.Client.Delete(ctx, &corev1.Pod{ObjectMeta: seen.ObjectMeta},
		client.Preconditions{UID: &seen.UID, ResourceVersion: &seen.ResourceVersion})
	switch {
	case err == nil:
		out.Deleted = plan.Member
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		out.Overtaken = true
	default:
		fail(err)
	}
}

// answer takes fulfilled and refused requests off the custom resource, unless they have been changed meanwhile.
func (a *Actor) answer(ctx context.Context, cluster *v1alpha1.MySQLCluster, done []topology.DoneRequest, out *Outcome) {
	for _, d := range done {
		annotation := map[topology.RequestKind]string{
			topology.RequestSwitchover:   v1alpha1.AnnotationSwitchover,
			topology.RequestForcePromote: v1alpha1.AnnotationForcePromote,
		}[d.Request]
		patch, err := json.Marshal([]map[string]any{
			{"op": "test", "path": "/metadata/annotations/" + escape(annotation), "value": cluster.Annotations[annotation]},
			{"op": "remove", "path": "/metadata/annotations/" + escape(annotation)},
		})
		after := cluster.DeepCopy()
		if err == nil {
			err = a.Client.Patch(ctx, after, client.RawPatch(jsonPatch, patch))
		}
		switch {
		case err == nil:
			// A cache that still shows the request must not have it carried out once more.
			a.Memory.Committed(after)
			out.Answered = append(out.Answered, d)
		case apierrors.IsInvalid(err), apierrors.IsNotFound(err):
			// Answered already, or another request by now: that one is looked at next time.
		default:
			out.Failures = append(out.Failures, Failure{What: "remove annotation " + annotation, Err: err})
		}
	}
}
