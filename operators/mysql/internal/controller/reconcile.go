package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/internal/act"
	"github.com/kapok-operators/kapok/operators/mysql/internal/observe"
	"github.com/kapok-operators/kapok/operators/mysql/internal/protect"
	"github.com/kapok-operators/kapok/operators/mysql/internal/report"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
	"github.com/kapok-operators/kapok/shared/observability"
)

// Reconciler runs the loop for MySQLClusters.
type Reconciler struct {
	Observer *observe.Observer
	Actor    *act.Actor
	Reporter *report.Reporter
	Grants   *act.Grants
	// Telemetry records the rounds; nil records none.
	Telemetry *observability.Telemetry

	pace pace
}

// atOnce is how long the loop waits after a commit: the next round follows from the new record.
const atOnce = time.Millisecond

// notYet is when to come back while the term of a new leadership is being read.
const notYet = 50 * time.Millisecond

// deposed is when to look again at a cluster that a later leadership works on.
const deposed = 5 * time.Second

// urgent is the queue priority of rounds on which a failover waits.
const urgent = 100

// Reconcile looks at one cluster, decides, acts and reports. Nothing in it waits.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	obs, err := r.Observer.Observe(ctx, req.NamespacedName)
	if errors.Is(err, observe.ErrNotLeading) {
		return ctrl.Result{RequeueAfter: notYet}, nil
	}
	if errors.Is(err, observe.ErrDeposed) {
		ctrl.LoggerFrom(ctx).Info("Left alone", "reason", err.Error())
		return ctrl.Result{RequeueAfter: deposed}, nil
	}
	if err != nil {
		return ctrl.Result{}, errors.Join(err, r.Reporter.Unknown(ctx, req.NamespacedName, err))
	}
	if obs == nil {
		r.forget(req.NamespacedName)
		return ctrl.Result{}, r.orphans(ctx, req.NamespacedName)
	}
	if obs.Cluster.DeletionTimestamp != nil {
		return r.retire(ctx, obs)
	}
	backups := obs.Protection()
	held := protect.Hold(backups)
	if held != "" {
		obs.Topology.KeepRunning()
	}
	plan := topology.Decide(obs.Topology)
	protect.Assign(backups, &plan)
	if err := r.Grants.Renew(req.NamespacedName, obs.Topology, plan); err != nil {
		return ctrl.Result{}, fmt.Errorf("grant the lease of %s: %w", req.NamespacedName, err)
	}
	care := r.pace.of(req.NamespacedName, obs.Topology, plan)
	out := r.Actor.Act(ctx, obs, plan, care)
	r.pace.log(ctx, req.NamespacedName, obs, plan, out)
	protection := protect.Decide(backups)
	if out.Committed == nil && !out.Overtaken && care == act.Whole {
		if d := protection.Drill; d.Begin != nil || d.Remove != nil {
			ctrl.LoggerFrom(ctx).Info("Restore drill", "begin", d.Begin != nil, "why", d.Why)
		}
		out.Failures = append(out.Failures, r.Actor.Protect(ctx, req.NamespacedName, protection)...)
		r.Reporter.Protected(obs.Cluster, protection)
	}
	err = errors.Join(out.Err(), r.Reporter.Report(ctx, obs, plan, report.Protection{Decision: protection, Held: held}, out, care))
	if err != nil && plan.Commit == nil && plan.LookAgain < retryWithin {
		// Something is about to be decided that no event announces, such as that a silent primary is dead. It must not wait
		// for the growing pauses of a failure that has nothing to do with it.
		ctrl.LoggerFrom(ctx).Error(err, "a part of the round failed")
		return ctrl.Result{RequeueAfter: retryWithin}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	result := next(obs, plan, out)
	if after := protection.LookAgain; after > 0 && (result.RequeueAfter == 0 || after < result.RequeueAfter) {
		result.RequeueAfter = after
	}
	return result, nil
}

// orphans looks after the backups of a cluster that does not exist.
func (r *Reconciler) orphans(ctx context.Context, cluster types.NamespacedName) error {
	backups, err := r.Observer.Backups(ctx, cluster)
	if err != nil {
		return err
	}
	errs := make([]error, 0)
	for _, f := range r.Actor.Protect(ctx, cluster, protect.Orphaned(cluster.Name, backups, r.Observer.Now())) {
		errs = append(errs, fmt.Errorf("%s: %w", f.What, f.Err))
	}
	return errors.Join(errs...)
}

// retryWithin is when to look again after a failure while the cluster is changing.
const retryWithin = time.Second

// next says when to look again. Agents wake the loop whenever they report something new, so this is for what only time
// brings about.
func next(obs *observe.Observation, plan topology.Plan, out act.Outcome) ctrl.Result {
	priority := urgent
	if out.Committed != nil || out.Overtaken {
		return ctrl.Result{RequeueAfter: atOnce, Priority: &priority}
	}
	if plan.Closed() {
		return ctrl.Result{RequeueAfter: plan.LookAgain, Priority: &priority}
	}
	after := plan.LookAgain
	if probe := obs.Cluster.Spec.HA.ProbeInterval.Duration; plan.State == topology.Healthy && probe > 0 {
		after = probe
	}
	return ctrl.Result{RequeueAfter: after}
}

// retire closes a cluster that is being deleted and then lets it go.
func (r *Reconciler) retire(ctx context.Context, obs *observe.Observation) (ctrl.Result, error) {
	plan, closed := topology.Retire(obs.Topology)
	waited := obs.Topology.Now.Sub(obs.Cluster.DeletionTimestamp.Time)
	if !slices.Contains(obs.Cluster.Finalizers, act.Finalizer) {
		// Let go already; somebody else keeps it.
		return ctrl.Result{}, nil
	}
	for _, f := range r.Actor.Protect(ctx, client.ObjectKeyFromObject(obs.Cluster),
		protect.Decide(obs.Protection())) {
		// A cluster goes whatever becomes of the objects that describe its backups.
		ctrl.LoggerFrom(ctx).Error(f.Err, "Left behind", "what", f.What)
	}
	err := r.Reporter.Retiring(ctx, obs.Cluster)
	if err := errors.Join(err, r.Actor.Retire(ctx, obs, plan, closed || waited > retireWithin)); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: plan.LookAgain}, nil
}

// retireWithin bounds how long a deletion waits for the primary to close itself; after that its mysqld is ended hard,
// which loses nothing either.
const retireWithin = 10 * time.Second

func (r *Reconciler) forget(name types.NamespacedName) {
	r.Observer.Forget(name)
	r.Grants.Forget(name)
	r.Reporter.Forget(name)
	r.pace.forget(name)
}
