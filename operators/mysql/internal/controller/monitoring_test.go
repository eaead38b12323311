package controller_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/act"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/shared/apply"
	"github.com/kapok-operators/kapok/shared/condition"
	"github.com/kapok-operators/kapok/shared/observability/monitors"
	"github.com/kapok-operators/kapok/shared/testkit"
)

// installMonitoring installs prometheus-operator's definitions until the end of the test.
func installMonitoring(t *testing.T) {
	t.Helper()
	for _, crd := range testkit.MonitoringCRDs(t) {
		// The server's scheme is the test's, which does not know the kind of definitions.
		if err := definitions(t).Create(t.Context(), crd); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { removeDefinition(t, crd) })
	}
}

// removeDefinition removes a definition, if it is still there, and waits until it has gone.
func removeDefinition(t *testing.T, crd *apiextensionsv1.CustomResourceDefinition) {
	t.Helper()
	c := definitions(t)
	if err := client.IgnoreNotFound(c.Delete(context.Background(), crd)); err != nil {
		t.Error(err)
	}
	for n := 0; !apierrors.IsNotFound(c.Get(context.Background(), client.ObjectKeyFromObject(crd), crd)); n++ {
		if n == 3000 {
			t.Fatalf("%s stays", crd.Name)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// definitions is a client for definitions.
func definitions(t *testing.T) client.Client {
	t.Helper()
	known := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(known); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(env.Config, client.Options{Scheme: known})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// watching gives the world's operator a watcher of prometheus-operator's kinds that looks that often, and whose writes go through
// base.
func (w *world) watching(base client.Client, interval time.Duration) {
	w.t.Helper()
	selector, err := labels.Parse(manifest.LabelCluster)
	if err != nil {
		w.t.Fatal(err)
	}
	watcher, err := monitors.New(monitors.Options{Config: env.Config, Scheme: scheme, Namespaces: []string{w.name.Namespace}, Selector: selector,
		Interval: interval, Logger: logr.Discard()})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- watcher.Start(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	objects := w.Actor.Objects.(*act.KubernetesObjects)
	objects.Monitors = watcher
	objects.MonitorApplier = &apply.Applier{Client: watcher.Client(base), FieldOwner: "mysql-operator"}
}

// often is how often a watcher looks that is to see what happens in a test.
const often = 50 * time.Millisecond

// monitored returns the condition.
func (w *world) monitored() metav1.Condition {
	w.t.Helper()
	if c := condition.Find(w.cluster().Status.Conditions, v1alpha1.ConditionMonitored); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// soon runs rounds until something is so that also depends on the watcher, which works in real time.
func (w *world) soon(what string, done func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("no %s in time: %+v, events %q, objects %v", what, w.cluster().Status, w.events.sent, w.monitoringObjects())
		}
		if err := w.round(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// monitoringObjects names what there is of a cluster's monitoring.
func (w *world) monitoringObjects() []string {
	w.t.Helper()
	var out []string
	for kind, obj := range map[string]client.Object{
		"ConfigMap db-mysql-dashboard": &corev1.ConfigMap{}, "PodMonitor db-mysql": &monitoringv1.PodMonitor{}, "PrometheusRule db-mysql": &monitoringv1.PrometheusRule{},
	} {
		_, name, _ := strings.Cut(kind, " ")
		err := api.Get(w.t.Context(), client.ObjectKey{Namespace: w.name.Namespace, Name: name}, obj)
		if err == nil {
			if owner := metav1.GetControllerOf(obj); owner == nil || owner.UID != w.cluster().UID || obj.GetLabels()["app.kubernetes.io/managed-by"] != manifest.ManagedBy {
				w.t.Errorf("%s: labels %v, owner %v", kind, obj.GetLabels(), owner)
			}
			out = append(out, kind)
		}
	}
	slices.Sort(out)
	return out
}

var allMonitoring = []string{"ConfigMap db-mysql-dashboard", "PodMonitor db-mysql", "PrometheusRule db-mysql"}

// TestMonitoringComesWithItsKinds: without the definitions a cluster lives as ever; installed afterwards, its objects appear
// without a restart; somebody's change is undone; switched off, they go.
func TestMonitoringComesWithItsKinds(t *testing.T) {
	w := healthy(t, 3)
	w.watching(w.writes, often)
	w.soon("word of what is missing", func() bool { return w.monitored().Reason == v1alpha1.ReasonNoPrometheusOperator })
	if ready := condition.Find(w.cluster().Status.Conditions, v1alpha1.ConditionReady); ready.Status != metav1.ConditionTrue {
		t.Errorf("without prometheus-operator the cluster is not ready: %+v", ready)
	}
	if got := w.monitoringObjects(); len(got) != 0 {
		t.Errorf("there are %v", got)
	}

	installMonitoring(t)
	w.soon("monitoring", func() bool {
		return w.monitored().Status == metav1.ConditionTrue && slices.Equal(w.monitoringObjects(), allMonitoring)
	})
	w.quiet("monitoring that is as it should be")

	var monitor monitoringv1.PodMonitor
	key := client.ObjectKey{Namespace: w.name.Namespace, Name: "db-mysql"}
	interval := func() monitoringv1.Duration {
		if err := api.Get(t.Context(), key, &monitor); err != nil {
			t.Fatal(err)
		}
		return monitor.Spec.PodMetricsEndpoints[0].Interval
	}
	if got := interval(); got != "15s" {
		t.Errorf("the interval is %s", got)
	}
	w.edit(func(c *v1alpha1.MySQLCluster) {
		c.Spec.Monitoring.ScrapeInterval = &metav1.Duration{Duration: 30 * time.Second}
	})
	w.soon("new interval", func() bool { return interval() == "30s" })
	monitor.Spec.PodMetricsEndpoints[0].Interval = "5m"
	if err := api.Update(t.Context(), &monitor); err != nil {
		t.Fatal(err)
	}
	w.soon("drift to be undone", func() bool { return interval() == "30s" })

	w.edit(func(c *v1alpha1.MySQLCluster) { c.Spec.Monitoring.Exporter = v1alpha1.ExporterNone })
	w.soon("end of monitoring", func() bool {
		return len(w.monitoringObjects()) == 0 && w.monitored().Reason == v1alpha1.ReasonMonitoringOff
	})
	var ca corev1.ConfigMap
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: w.name.Namespace, Name: manifest.LinkCA("db")}, &ca); err != nil {
		t.Errorf("another ConfigMap of the cluster went with the dashboard: %v", err)
	}

	// Somebody else's object of the name is left alone, and said to be in the way.
	theirs := &monitoringv1.PrometheusRule{ObjectMeta: metav1.ObjectMeta{Namespace: w.name.Namespace, Name: "db-mysql"}}
	if err := api.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	w.edit(func(c *v1alpha1.MySQLCluster) { c.Spec.Monitoring.Exporter = v1alpha1.ExporterSidecar })
	w.soon("word of what is in the way", func() bool { return w.monitored().Reason == v1alpha1.ReasonNameTaken })
	if err := api.Get(t.Context(), key, theirs); err != nil || len(theirs.Labels) != 0 {
		t.Errorf("somebody else's rule was written: %v (%v)", theirs.Labels, err)
	}
	if err := api.Delete(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	w.soon("monitoring again", func() bool { return slices.Equal(w.monitoringObjects(), allMonitoring) })
}

// TestAMissingPermissionForMonitoringIsAWord: the database does not depend on being watched, and the round does not fail.
func TestAMissingPermissionForMonitoringIsAWord(t *testing.T) {
	w := healthy(t, 1)
	forbidden := interceptor.NewClient(w.writes, interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return apierrors.NewForbidden(schema.GroupResource{Group: "monitoring.coreos.com", Resource: "podmonitors"}, "db-mysql", errors.New("the role lacks it"))
		},
	})
	w.watching(forbidden, often)
	installMonitoring(t)
	w.soon("word of what is missing", func() bool { return w.monitored().Reason == v1alpha1.ReasonMonitoringForbidden })
	if c := w.monitored(); !strings.Contains(c.Message, "podmonitors") {
		t.Errorf("%+v", c)
	}
	w.quiet("a permission that stays missing")
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionReconciled} {
		if c := condition.Find(w.cluster().Status.Conditions, kind); c.Status != metav1.ConditionTrue {
			t.Errorf("%+v", c)
		}
	}
	if got := w.monitoringObjects(); len(got) != 0 {
		t.Errorf("there are %v", got)
	}
}

// TestDefinitionsThatGoAreNoRefusal: it is said what is missing as soon as something is to be written, and not only when the
// watcher would have looked again; that the API server refuses an object is never said.
func TestDefinitionsThatGoAreNoRefusal(t *testing.T) {
	w := healthy(t, 1)
	installMonitoring(t)
	for _, list := range []client.ObjectList{&monitoringv1.PodMonitorList{}, &monitoringv1.PrometheusRuleList{}} {
		for n := 0; api.List(t.Context(), list) != nil; n++ {
			if n == 3000 {
				t.Fatalf("%T cannot be listed", list)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	w.watching(w.writes, time.Hour)
	w.soon("monitoring", func() bool { return w.monitored().Status == metav1.ConditionTrue })
	for _, crd := range testkit.MonitoringCRDs(t) {
		removeDefinition(t, crd)
	}
	w.soon("word that they have gone", func() bool {
		c := w.monitored()
		if c.Status == metav1.ConditionFalse && c.Reason != v1alpha1.ReasonNoPrometheusOperator {
			t.Fatalf("%+v", c)
		}
		return c.Reason == v1alpha1.ReasonNoPrometheusOperator && strings.Contains(c.Message, "install prometheus-operator")
	})
}
