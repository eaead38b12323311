package main

import (
	"fmt"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/internal/controller"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/shared/manager"
	"github.com/kapok-operators/kapok/shared/observability/monitors"
)

// watchMonitors adds to the manager what finds out whether the kinds of prometheus-operator are there. When that changes, every
// cluster is looked at; when one of the objects does, its cluster.
func watchMonitors(mgr *manager.Manager, rc *rest.Config, c config, wake *controller.Wake) (*monitors.Watcher, error) {
	watcher, err := monitors.New(monitors.Options{
		Config: rc, Scheme: c.manager.Scheme, Namespaces: c.manager.Namespaces, Selector: ours(),
		OnState: func(monitors.State) { wakeAll(mgr.GetClient(), wake) },
		OnObject: func(obj client.Object) {
			wake.Cluster(client.ObjectKey{Namespace: obj.GetNamespace(), Name: obj.GetLabels()[manifest.LabelCluster]})
		},
		Logger: mgr.GetLogger().WithName("monitors"),
	})
	if err != nil {
		return nil, err
	}
	if err := mgr.Add(watcher); err != nil {
		return nil, fmt.Errorf("add the watcher of monitoring: %w", err)
	}
	return watcher, nil
}
