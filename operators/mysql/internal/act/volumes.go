package act

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/observe"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// claims are the data volume claims of a cluster, read live.
func (a *Actor) claims(ctx context.Context, cluster *v1alpha1.MySQLCluster) ([]corev1.PersistentVolumeClaim, error) {
	var list corev1.PersistentVolumeClaimList
	err := a.Live.List(ctx, &list, client.InNamespace(cluster.Namespace), client.MatchingLabels(manifest.SelectorLabels(cluster.Name)))
	if err != nil {
		return nil, fmt.Errorf("list the volume claims of %s live: %w", cluster.Name, err)
	}
	out := list.Items[:0]
	for _, claim := range list.Items {
		if strings.HasPrefix(claim.Name, manifest.DataVolume+"-") {
			out = append(out, claim)
		}
	}
	return out, nil
}

// volumesSeen returns an error if a cluster is about to be founded, or adopted, without a look at every volume from before
// it. That a cache shows no such volume does not mean that there is none, and one of them may hold the only copy of
// something (I9).
func (a *Actor) volumesSeen(ctx context.Context, obs *observe.Observation, commit topology.Commit) error {
	if commit.Kind != topology.CommitBootstrap && commit.Kind != topology.CommitAdopt {
		return nil
	}
	claims, err := a.claims(ctx, obs.Cluster)
	if err != nil {
		return err
	}
	for i := range claims {
		claim := &claims[i]
		seen := obs.Claims[strings.TrimPrefix(claim.Name, manifest.DataVolume+"-")]
		if observe.IsOld(claim, obs.Cluster) && (seen == nil || seen.UID != claim.UID) {
			return fmt.Errorf("volume claim %s is from before the cluster and has not been looked at yet", claim.Name)
		}
	}
	return nil
}
