package act

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
)

// named is an object that a cluster needs under a certain name.
type named struct {
	kind string
	name string
	// typed is an empty object of the kind, which the cache is asked for.
	typed client.Object
	// version is the apiVersion of the kind.
	version string
}

// needed are the objects whose names follow from the cluster's.
func needed(cluster string) []named {
	const core, apps, policy, discovery = "v1", "apps/v1", "policy/v1", "discovery.k8s.io/v1"
	out := []named{
		{"ServiceAccount", manifest.ServiceAccount(cluster), &corev1.ServiceAccount{}, core},
		{"ConfigMap", manifest.LinkCA(cluster), &corev1.ConfigMap{}, core},
		{"Service", manifest.PeersService(cluster), &corev1.Service{}, core},
		{"PodDisruptionBudget", manifest.DisruptionBudget(cluster), &policyv1.PodDisruptionBudget{}, policy},
		{"StatefulSet", manifest.StatefulSet(cluster), &appsv1.StatefulSet{}, apps},
	}
	for _, service := range []string{
		manifest.ReadWriteService(cluster), manifest.ReadOnlyService(cluster), manifest.ReadService(cluster),
	} {
		out = append(out,
			named{"Service", service, &corev1.Service{}, core},
			named{"EndpointSlice", manifest.EndpointSliceName(service, discoveryv1.AddressTypeIPv4), &discoveryv1.EndpointSlice{}, discovery})
	}
	return out
}

// taken finds objects that the cluster needs and that belong to somebody else. Server-side apply would merge the
// cluster's fields into them: a Service of an application, say, would lead to mysqld. The cache holds what carries a
// cluster's label only, so what it lacks is looked for live before it is made.
func (a *Actor) taken(ctx context.Context, cluster *v1alpha1.MySQLCluster) []Failure {
	var out []Failure
	for _, n := range needed(cluster.Name) {
		taken, err := looker{cached: a.Client, live: a.Live}.isTaken(ctx, cluster, n)
		switch {
		case err != nil:
			out = append(out, Failure{What: fmt.Sprintf("look for %s %s", n.kind, n.name), Err: err})
		case taken:
			out = append(out, Failure{What: fmt.Sprintf("make %s %s", n.kind, n.name), Reason: v1alpha1.ReasonNameTaken,
				Err: errTaken})
		}
	}
	return out
}

// looker looks for an object in the cache, and live for what the cache lacks.
type looker struct{ cached, live client.Reader }

func (l looker) isTaken(ctx context.Context, cluster *v1alpha1.MySQLCluster, n named) (bool, error) {
	key := types.NamespacedName{Namespace: cluster.Namespace, Name: n.name}
	err := l.cached.Get(ctx, key, n.typed)
	if err == nil {
		return foreign(n.typed, cluster), nil
	}
	if !apierrors.IsNotFound(err) {
		return false, err
	}
	live := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: n.version, Kind: n.kind}}
	err = l.live.Get(ctx, key, live)
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, err
	}
	return foreign(live, cluster), nil
}

var errTaken = errors.New("one of this name exists and does not belong to the cluster; it is not touched: remove it, or give the " +
	"cluster another name")

// foreign says whether an object is somebody else's. One that is left over from an earlier cluster of the name is on
// its way out; it counts as foreign until it is gone.
func foreign(obj client.Object, cluster *v1alpha1.MySQLCluster) bool {
	owner := metav1.GetControllerOf(obj)
	return owner == nil || owner.UID != cluster.UID
}
