package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/e2e-framework/support"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
)

// fieldOwner is who the lab's writes belong to.
const fieldOwner = "kapok-lab"

// Lab is an open cluster.
type Lab struct {
	Options
	// Client reads and writes objects, without a cache.
	Client client.Client
	// Core does what Client cannot: logs, exec, tokens.
	Core kubernetes.Interface
	// Config reaches the API server.
	Config *rest.Config
	// Log prints one line of progress.
	Log func(format string, args ...any)

	provider support.E2EClusterProviderWithImageLoader
	faults   NodeFaults
}

// Open brings the cluster up, or finds it up, and loads the images.
func Open(ctx context.Context, o Options, log func(format string, args ...any)) (*Lab, error) {
	l := &Lab{Options: o, Log: log}
	l.Log("cluster %q (%s): bringing it up", o.ClusterName, o.Provider)
	config, err := l.bringUp(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.connect(config); err != nil {
		return nil, err
	}
	if err := l.waitForNodes(ctx); err != nil {
		return nil, err
	}
	return l, l.loadImages(ctx)
}

func (l *Lab) connect(config *rest.Config) error {
	l.Config = rest.CopyConfig(config)
	// The lab looks often, and a measurement must not wait for its own client.
	l.Config.QPS = -1
	scheme := runtime.NewScheme()
	if err := errors.Join(clientscheme.AddToScheme(scheme), mysqlv1.AddToScheme(scheme), monitoringv1.AddToScheme(scheme)); err != nil {
		return fmt.Errorf("build the scheme: %w", err)
	}
	var err error
	if l.Client, err = client.New(l.Config, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("build a client: %w", err)
	}
	if l.Core, err = kubernetes.NewForConfig(l.Config); err != nil {
		return fmt.Errorf("build a client: %w", err)
	}
	return nil
}

func (l *Lab) loadImages(ctx context.Context) error { return l.Load(ctx, l.Images...) }

// Load loads image archives on every node.
func (l *Lab) Load(ctx context.Context, archives ...string) error {
	for _, archive := range archives {
		started := time.Now()
		// A busy machine may make a cluster look as if it were not up yet.
		err := l.Wait(ctx, 3*time.Minute, "the load of "+archive, func(ctx context.Context) (bool, string, error) {
			if err := l.provider.LoadImageArchive(ctx, archive); err != nil {
				return NotYet(err)
			}
			return true, "", nil
		})
		if err != nil {
			return err
		}
		l.Log("image %s loaded in %s", archive, time.Since(started).Round(100*time.Millisecond))
	}
	return nil
}

// waitForNodes waits until every node is ready.
func (l *Lab) waitForNodes(ctx context.Context) error {
	return l.Wait(ctx, 3*time.Minute, "the nodes", func(ctx context.Context) (bool, string, error) {
		var nodes corev1.NodeList
		if err := l.Client.List(ctx, &nodes); err != nil {
			return NotYet(err)
		}
		ready := 0
		for _, n := range nodes.Items {
			if nodeReady(n) {
				ready++
			}
		}
		return ready > 0 && ready == len(nodes.Items), fmt.Sprintf("%d of %d ready", ready, len(nodes.Items)), nil
	})
}

func nodeReady(n corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// available says whether a Deployment has rolled out, and what is seen of it.
func available(d appsv1.Deployment) (bool, string) {
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	seen := fmt.Sprintf("%d of %d updated, %d available", d.Status.UpdatedReplicas, want, d.Status.AvailableReplicas)
	return d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas == want && d.Status.Replicas == want &&
		d.Status.AvailableReplicas == want, seen
}
