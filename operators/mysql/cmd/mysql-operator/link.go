package main

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/act"
	"github.com/kapok-operators/kapok/operators/mysql/internal/controller"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/shared/link"
	"github.com/kapok-operators/kapok/shared/link/metrics"
	"github.com/kapok-operators/kapok/shared/manager"
	"github.com/kapok-operators/kapok/shared/observability"
)

// authoritiesName is the ConfigMap in the operator's namespace that holds the authorities of its replicas.
const authoritiesName = name + "-link"

// listen adds the link to the manager: on every replica, leader or not, so that a standby has the live picture.
func listen(mgr *manager.Manager, clients kubernetes.Interface, c config, wake *controller.Wake, grants *act.Grants) (*linkServer, error) {
	replica, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("find this replica's name: %w", err)
	}
	namespace, err := c.manager.OwnNamespace()
	if err != nil {
		return nil, err
	}
	verifier, err := link.NewJWKSVerifier(link.JWKSOptions{Client: clients.CoreV1().RESTClient(), Audience: manifest.LinkAudience})
	if err != nil {
		return nil, err
	}
	authority, err := link.NewAuthority(link.AuthorityOptions{Replica: replica, Folder: c.linkKeys})
	if err != nil {
		return nil, fmt.Errorf("make the link's authority: %w", err)
	}
	recorder, err := metrics.NewRecorder(mgr.Exporter.Provider(), c.manager.Metrics)
	if err != nil {
		return nil, err
	}
	hub := link.NewHub(link.HubOptions{
		Verifier: verifier, Authorize: podCheck(mgr.GetClient()), OnChange: wake.Agent, HeartbeatReply: grants.Reply,
		OnDelivered: recorder.Delivered, Name: replica, Logger: mgr.GetLogger().WithName("link"),
	})
	if err := c.manager.Metrics.Register(metrics.NewCollector(hub, time.Now)); err != nil {
		return nil, fmt.Errorf("register the metrics of the links: %w", err)
	}
	expose(mgr.Certificates, authority)
	var trust atomic.Pointer[[]byte]
	publisher := &link.Publisher{
		Writer: mgr.GetClient(), Reader: mgr.GetAPIReader(), Namespace: namespace, Name: authoritiesName,
		Labels:  map[string]string{"app.kubernetes.io/managed-by": manifest.ManagedBy},
		Replica: replica, Authority: authority, Replicas: replicas(mgr.GetAPIReader(), namespace),
		OnBundle: func(bundle []byte) {
			if old := trust.Swap(&bundle); old != nil && string(*old) == string(bundle) {
				return
			}
			hub.SetTrust(bundle)
			wakeAll(mgr.GetClient(), wake)
		},
		Logger: mgr.GetLogger().WithName("link"),
	}
	for _, runnable := range []interface {
		Start(context.Context) error
	}{publisher, &link.Server{Address: c.linkBind, Hub: hub, Authority: authority}} {
		if err := mgr.Add(runnable); err != nil {
			return nil, fmt.Errorf("add the link: %w", err)
		}
	}
	return &linkServer{hub: hub, trust: func() []byte {
		if bundle := trust.Load(); bundle != nil {
			return *bundle
		}
		return nil
	}}, nil
}

// expose says when the link's certificates expire.
func expose(certificates *observability.Certificates, authority *link.Authority) {
	certificates.Add("link", func() (time.Time, bool) {
		leaf, _, err := authority.Expiry()
		return leaf, err == nil
	})
	certificates.Add("link-authority", func() (time.Time, bool) {
		_, ca, err := authority.Expiry()
		return ca, err == nil
	})
}

// podCheck is the operator's own view of a pod behind a token: it must exist with that UID, be an instance of a cluster,
// and run under that cluster's account. A pod that is being deleted may still speak: a drained primary hands over.
func podCheck(reader client.Reader) func(link.Identity) error {
	return func(id link.Identity) error {
		var pod corev1.Pod
		// The cache answers without the network; what it does not know is refused, and the agent comes again.
		if err := reader.Get(context.Background(), types.NamespacedName{Namespace: id.Namespace, Name: id.Pod}, &pod); err != nil {
			return fmt.Errorf("look up pod %s/%s: %w", id.Namespace, id.Pod, err)
		}
		cluster := pod.Labels[manifest.LabelCluster]
		switch {
		case string(pod.UID) != id.PodUID:
			return fmt.Errorf("pod %s/%s is another one by now", id.Namespace, id.Pod)
		case cluster == "" || id.ServiceAccount != manifest.ServiceAccount(cluster):
			return fmt.Errorf("pod %s/%s is no instance of a MySQLCluster", id.Namespace, id.Pod)
		}
		return nil
	}
}

// replicas lists the operator's own pods.
func replicas(reader client.Reader, namespace string) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		var pods corev1.PodList
		err := reader.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels{"app.kubernetes.io/name": name})
		if err != nil {
			return nil, fmt.Errorf("list the operator's replicas: %w", err)
		}
		out := make([]string, 0, len(pods.Items))
		for i := range pods.Items {
			out = append(out, pods.Items[i].Name)
		}
		return out, nil
	}
}

// wakeAll lets every cluster's copy of the authorities be brought up to date.
func wakeAll(reader client.Reader, wake *controller.Wake) {
	var clusters v1alpha1.MySQLClusterList
	// Before the cache is filled there is nobody to wake; the first round sees the new bundle anyway.
	if err := reader.List(context.Background(), &clusters); err != nil {
		return
	}
	for i := range clusters.Items {
		wake.Cluster(client.ObjectKeyFromObject(&clusters.Items[i]))
	}
}
