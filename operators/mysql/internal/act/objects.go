package act

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/observe"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
	"github.com/kapok-operators/kapok/shared/apply"
	"github.com/kapok-operators/kapok/shared/observability/monitors"
)

// KubernetesObjects applies what surrounds the instances of a cluster.
type KubernetesObjects struct {
	// Client reads from the cache and writes. Live reads from the API server.
	Client client.Client
	Live   client.Reader
	// Applier writes what differs.
	Applier *apply.Applier
	// Config is the installation's part of the objects.
	Config manifest.Config
	// Monitors says whether prometheus-operator's kinds can be used, and MonitorApplier writes them. With a nil Monitors they
	// are never made.
	Monitors       *monitors.Watcher
	MonitorApplier *apply.Applier
	// LinkCA returns the certificates by which agents know the operator; empty until they are published.
	LinkCA func() []byte

	// refusals are the claims that the API server would not let grow.
	refusals refusals
}

// Apply writes what differs: endpoints first, because clients wait for them, then the rest, then larger volumes.
func (k *KubernetesObjects) Apply(ctx context.Context, obs *observe.Observation, plan topology.Plan) Applied {
	var failures []Failure
	fail := func(what string, err error) {
		if err != nil {
			failures = append(failures, Failure{What: what, Err: err})
		}
	}
	_, err := k.Applier.Apply(ctx, k.endpoints(obs, plan.Endpoints)...)
	fail("apply the endpoints", err)
	objects, err := k.objects(ctx, obs, plan)
	if err == nil {
		err = k.applyAll(ctx, obs, objects)
	}
	fail("apply the objects", err)
	grown, refused := k.enlarge(ctx, obs)
	failures = append(failures, refused...)
	return Applied{Grown: grown, Failures: append(failures, k.monitor(ctx, obs.Cluster)...)}
}

// applyAll applies the objects in order. The StatefulSet alone can end instances that somebody else wants, by a number of
// replicas that is out of date.
func (k *KubernetesObjects) applyAll(ctx context.Context, obs *observe.Observation, objects []runtime.ApplyConfiguration) error {
	licence := func(ctx context.Context) (string, error) { return k.mayShape(ctx, obs) }
	for _, object := range objects {
		var err error
		if _, ok := object.(*appsv1ac.StatefulSetApplyConfiguration); ok {
			_, err = k.Applier.ApplyUnder(ctx, licence, object)
		} else {
			_, err = k.Applier.Apply(ctx, object)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mayShape is the licence to write the StatefulSet: the specification and the record are still those that were observed, so
// that neither the user nor a later leader of the operator wants another number of instances. The set is read first. If a
// later leader writes it after that, the write is refused; if it wrote before, its record is seen.
func (k *KubernetesObjects) mayShape(ctx context.Context, obs *observe.Observation) (string, error) {
	var set appsv1.StatefulSet
	name := types.NamespacedName{Namespace: obs.Cluster.Namespace, Name: manifest.StatefulSet(obs.Cluster.Name)}
	if err := k.Live.Get(ctx, name, &set); client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("read StatefulSet %s live: %w", name, err)
	}
	live, err := readLive(ctx, k.Live, obs.Cluster)
	if err != nil {
		return "", err
	}
	if live.UID != obs.Cluster.UID || live.Generation != obs.Cluster.Generation || !sameRecord(observe.Record(live.Status.Record), obs.Topology.Record) {
		return "", errors.New("the cluster has changed since it was observed; it is looked at again")
	}
	return set.ResourceVersion, nil
}

// Redirect points the read-write Service at the primary, if its endpoints have been made: making them is up to Apply,
// which first looks whether the name is somebody else's.
func (k *KubernetesObjects) Redirect(ctx context.Context, obs *observe.Observation, plan topology.Plan) []Failure {
	service := manifest.ReadWriteService(obs.Cluster.Name)
	if !obs.Slices[manifest.EndpointSliceName(service, discoveryv1.AddressTypeIPv4)] {
		return nil
	}
	if _, err := k.Applier.Apply(ctx, k.slicesOf(obs, service, writable(plan.Endpoints))...); err != nil {
		return []Failure{{What: "apply the endpoints", Err: err}}
	}
	return nil
}

func (k *KubernetesObjects) objects(ctx context.Context, obs *observe.Observation, plan topology.Plan) ([]runtime.ApplyConfiguration, error) {
	ca := k.LinkCA()
	if len(ca) == 0 {
		// Without it no agent could find its operator; it is there within a moment of the operator's start.
		return nil, fmt.Errorf("the certificates of the operator's link are not published yet")
	}
	claimSize, err := k.claimSize(ctx, obs)
	if err != nil {
		return nil, err
	}
	objects, err := manifest.Objects(manifest.Input{
		Cluster: obs.Cluster, Config: k.Config, Replicas: int32(plan.Replicas), LinkCA: ca, ClaimSize: claimSize, //nolint:gosec // At most 32.
	})
	if err != nil {
		return nil, fmt.Errorf("build the objects of %s: %w", obs.Cluster.Name, err)
	}
	return objects, nil
}

// claimSize is the size in the claim template of the StatefulSet that exists.
func (k *KubernetesObjects) claimSize(ctx context.Context, obs *observe.Observation) (*resource.Quantity, error) {
	var set appsv1.StatefulSet
	name := types.NamespacedName{Namespace: obs.Cluster.Namespace, Name: manifest.StatefulSet(obs.Cluster.Name)}
	err := k.Client.Get(ctx, name, &set)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read StatefulSet %s: %w", name, err)
	}
	for i := range set.Spec.VolumeClaimTemplates {
		if claim := &set.Spec.VolumeClaimTemplates[i]; claim.Name == manifest.DataVolume {
			size := claim.Spec.Resources.Requests[corev1.ResourceStorage]
			return &size, nil
		}
	}
	return nil, nil
}

// endpoints are the EndpointSlices of the three Services.
func (k *KubernetesObjects) endpoints(obs *observe.Observation, want topology.Endpoints) []runtime.ApplyConfiguration {
	name, readOnly := obs.Cluster.Name, want.ReadOnly
	if len(readOnly) == 0 {
		readOnly = want.Any
	}
	return slices.Concat(
		k.slicesOf(obs, manifest.ReadWriteService(name), writable(want)),
		k.slicesOf(obs, manifest.ReadOnlyService(name), readOnly),
		k.slicesOf(obs, manifest.ReadService(name), want.Any))
}

// writable is the target of the read-write Service.
func writable(want topology.Endpoints) []string {
	if want.ReadWrite == "" {
		return nil
	}
	return []string{want.ReadWrite}
}

// slicesOf are the EndpointSlices of one Service: one for each address family.
func (k *KubernetesObjects) slicesOf(obs *observe.Observation, service string, members []string) []runtime.ApplyConfiguration {
	targets := k.targets(obs, members)
	out := []runtime.ApplyConfiguration{manifest.EndpointSlice(obs.Cluster, service, discoveryv1.AddressTypeIPv4, targets)}
	isIPv6 := func(target manifest.Endpoint) bool {
		return manifest.FamilyOf(target.IP) == discoveryv1.AddressTypeIPv6
	}
	// The slice of the other family is there once it was needed, and must not keep what is gone.
	if slices.ContainsFunc(targets, isIPv6) || obs.Slices[manifest.EndpointSliceName(service, discoveryv1.AddressTypeIPv6)] {
		out = append(out, manifest.EndpointSlice(obs.Cluster, service, discoveryv1.AddressTypeIPv6, targets))
	}
	return out
}

func (k *KubernetesObjects) targets(obs *observe.Observation, members []string) []manifest.Endpoint {
	out := make([]manifest.Endpoint, 0, len(members))
	for _, name := range members {
		pod := obs.Pods[name]
		if pod == nil || pod.Status.PodIP == "" {
			continue
		}
		out = append(out, manifest.Endpoint{Instance: name, PodUID: pod.UID, IP: pod.Status.PodIP, Node: pod.Spec.NodeName})
	}
	return out
}
