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
	desired := ac.MySQLCluster(cluster.Name, cluster.Namespace).WithUID(cluster.UID).WithFinalizers(Finalizer)
	if err := a.Client.Apply(ctx, desired, client.FieldOwner(finalizerOwner), client.ForceOwnership); err != nil {
		return fmt.Errorf("put the finalizer on %s: %w", cluster.Name, err)
	}
	return nil
}

// Retire sends what closes the primary and, once it is closed, lets the cluster go. Volumes go with it only if the
// deletion policy says so (I9).
func (a *Actor) Retire(ctx context.Context, obs *observe.Observation, plan topology.Plan, closed bool) error {
	var out Outcome
	a.direct(obs, plan, &out)
	if err := out.Err(); err != nil {
		return err
	}
	if !closed || !slices.Contains(obs.Cluster.Finalizers, Finalizer) {
		return nil
	}
	if obs.Cluster.Spec.DeletionPolicy == v1alpha1.DeletionDelete {
		for _, claim := range obs.Claims {
			if claim.DeletionTimestamp != nil {
				continue
			}
			err := a.Client.Delete(ctx, claim.DeepCopy(), client.Preconditions{UID: &claim.UID})
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				return fmt.Errorf("delete volume claim %s: %w", claim.Name, err)
			}
		}
	}
	i := slices.Index(obs.Cluster.Finalizers, Finalizer)
	path := fmt.Sprintf("/metadata/finalizers/%d", i)
	patch, err := json.Marshal([]map[string]any{
		{"op": "test", "path": path, "value": Finalizer}, {"op": "remove", "path": path},
	})
	if err == nil {
		err = a.Client.Patch(ctx, obs.Cluster.DeepCopy(), client.RawPatch(jsonPatch, patch))
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove the finalizer of %s: %w", obs.Cluster.Name, err)
	}
	return nil
}
