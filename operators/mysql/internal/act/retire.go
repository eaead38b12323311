package act

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	ac "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/observe"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// Finalizer keeps a deleted cluster until its primary is closed and, if its deletion policy says so, its volumes are
// given up.
const Finalizer = v1alpha1.Group + "/retire"

// finalizerOwner is the field owner of the finalizer alone.
const finalizerOwner = "kapok-mysql-finalizer"

// Keep puts the finalizer on a cluster that has none yet.
func (a *Actor) Keep(ctx context.Context, cluster *v1alpha1.MySQLCluster) error {
	if slices.Contains(cluster.Finalizers, Finalizer) {
		return nil
	}
	ctx, action := a.Telemetry.Begin(ctx, actionKeep)
	desired := ac.MySQLCluster(cluster.Name, cluster.Namespace).WithUID(cluster.UID).WithFinalizers(Finalizer)
	err := a.Client.Apply(ctx, desired, client.FieldOwner(finalizerOwner), client.ForceOwnership)
	action.End(err)
	if err != nil {
		return fmt.Errorf("put the finalizer on %s: %w", cluster.Name, err)
	}
	return nil
}

// Retire sends what closes the primary and, once it is closed, lets the cluster go. Volumes go with it only if the
// deletion policy says so (I9), as it stands now: the user may have changed it until the last moment.
func (a *Actor) Retire(ctx context.Context, obs *observe.Observation, plan topology.Plan, closed bool) error {
	var out Outcome
	a.recorded(ctx, actionDirect, &out, func(ctx context.Context) { a.direct(ctx, obs, plan, &out) })
	if err := out.Err(); err != nil {
		return err
	}
	if !closed || !slices.Contains(obs.Cluster.Finalizers, Finalizer) {
		return nil
	}
	live, err := a.live(ctx, obs.Cluster)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	case live.UID != obs.Cluster.UID || live.DeletionTimestamp == nil || !slices.Contains(live.Finalizers, Finalizer):
		return nil
	}
	if live.Spec.DeletionPolicy == v1alpha1.DeletionDelete {
		actx, action := a.Telemetry.Begin(ctx, actionVolumes)
		err := a.giveUpVolumes(actx, live)
		action.End(err)
		if err != nil {
			return err
		}
	}
	ctx, action := a.Telemetry.Begin(ctx, actionRelease)
	err = a.release(ctx, live)
	action.End(err)
	return err
}

// giveUpVolumes deletes the volume claims of a cluster: all that there are, not only those that the cache shows, because
// nobody deletes the others later.
func (a *Actor) giveUpVolumes(ctx context.Context, cluster *v1alpha1.MySQLCluster) error {
	claims, err := a.claims(ctx, cluster)
	if err != nil {
		return err
	}
	for i := range claims {
		claim := &claims[i]
		if claim.DeletionTimestamp != nil {
			continue
		}
		// A conflict says that another claim has this name by now, which is to go as well: the next attempt sees it.
		err := a.Client.Delete(ctx, claim, client.Preconditions{UID: &claim.UID})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete volume claim %s: %w", claim.Name, err)
		}
	}
	return nil
}

// release takes the finalizer off.
func (a *Actor) release(ctx context.Context, cluster *v1alpha1.MySQLCluster) error {
	i := slices.Index(cluster.Finalizers, Finalizer)
	path := fmt.Sprintf("/metadata/finalizers/%d", i)
	patch, err := json.Marshal([]map[string]any{
		{"op": "test", "path": path, "value": Finalizer}, {"op": "remove", "path": path},
	})
	if err == nil {
		err = a.Client.Patch(ctx, cluster.DeepCopy(), client.RawPatch(jsonPatch, patch))
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove the finalizer of %s: %w", cluster.Name, err)
	}
	return nil
}
