package controller_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/shared/condition"
)

// expandable makes a storage class whose volumes can grow and returns its name.
func expandable(t testing.TB) string {
	t.Helper()
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{GenerateName: "expandable-"}, Provisioner: "example.com/volumes",
		AllowVolumeExpansion: new(true)}
	if err := api.Create(t.Context(), class); err != nil {
		t.Fatal(err)
	}
	return class.Name
}

func TestVolumesGrow(t *testing.T) {
	for name, test := range map[string]struct {
		class, reason string
		size          string
	}{
		"in a class that allows it": {expandable(t), v1alpha1.ReasonResizePending, "20Gi"},
		"in a class that does not":  {"", v1alpha1.ReasonExpansionRefused, "10Gi"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.seed(1, func(c *v1alpha1.MySQLCluster) {
				if test.class != "" {
					c.Spec.Storage.StorageClassName = &test.class
				}
			})
			w.edit(func(c *v1alpha1.MySQLCluster) { c.Spec.Storage.Size = resource.MustParse("20Gi") })
			found := func() *metav1.Condition {
				return condition.Find(w.cluster().Status.Conditions, v1alpha1.ConditionStorageHealthy)
			}
			for n := 0; found().Reason != test.reason; n++ {
				if n == rounds {
					t.Fatalf("%+v", found())
				}
				// Refused again and again: the round fails, and says so.
				if err := w.round(); err != nil && !strings.Contains(err.Error(), "enlarge") {
					t.Fatal(err)
				}
			}
			if !strings.Contains(found().Message, "db-0") {
				t.Errorf("%+v", found())
			}
			var claim corev1.PersistentVolumeClaim
			key := types.NamespacedName{Namespace: w.name.Namespace, Name: manifest.ClaimName("db-0")}
			if err := api.Get(t.Context(), key, &claim); err != nil {
				t.Fatal(err)
			}
			if got := claim.Spec.Resources.Requests.Storage().String(); got != test.size {
				t.Errorf("the claim asks for %s", got)
			}
			if test.class == "" {
				return
			}
			w.quiet("a volume that grows")
			w.grow()
			w.until("healthy cluster", w.healthy("db-0"))
			if got := w.statefulSet().Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String(); got != "10Gi" {
				t.Errorf("the template of claims, which cannot change, asks for %s", got)
			}
		})
	}
}

// TestForeignObjectsAreNotTouched: a Service of the cluster's name that leads to an application must not lead to mysqld.
func TestForeignObjectsAreNotTouched(t *testing.T) {
	w := newWorld(t)
	theirs := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: w.name.Namespace, Name: "db-ro"},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "shop"}, Ports: []corev1.ServicePort{{Port: 80}}}}
	if err := api.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	w.create(instances(1))
	for range 5 {
		if err := w.round(); err != nil && !strings.Contains(err.Error(), "db-ro") {
			t.Fatal(err)
		}
	}
	c := condition.Find(w.cluster().Status.Conditions, v1alpha1.ConditionReconciled)
	if c == nil || c.Reason != v1alpha1.ReasonNameTaken || !strings.Contains(c.Message, "Service db-ro") {
		t.Errorf("%+v", c)
	}
	var now corev1.Service
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(theirs), &now); err != nil {
		t.Fatal(err)
	}
	if now.ResourceVersion != theirs.ResourceVersion {
		t.Errorf("somebody else's Service was written: %+v", now)
	}
	var slices discoveryv1.EndpointSliceList
	if err := api.List(t.Context(), &slices, client.InNamespace(w.name.Namespace)); err != nil || len(slices.Items) != 0 {
		t.Errorf("endpoints were added to somebody else's Service: %v (%v)", slices.Items, err)
	}
	if err := api.Delete(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	w.until("healthy cluster", w.healthy("db-0"))
}

func TestIPv6EndpointsDoNotStay(t *testing.T) {
	w := healthy(t, 1)
	six := types.NamespacedName{Namespace: w.name.Namespace, Name: manifest.EndpointSliceName("db", discoveryv1.AddressTypeIPv6)}
	w.address("db-0", "fd00::1")
	var slice discoveryv1.EndpointSlice
	w.until("IPv6 endpoint", func() bool { return api.Get(t.Context(), six, &slice) == nil && len(slice.Endpoints) == 1 })
	if got := w.targets("db"); len(got) != 0 {
		t.Errorf("the IPv4 slice leads to %v", got)
	}
	w.address("db-0", "10.0.0.1")
	w.until("empty IPv6 slice", func() bool { return api.Get(t.Context(), six, &slice) == nil && len(slice.Endpoints) == 0 })
	if got := w.targets("db"); !slices.Equal(got, []string{"db-0 10.0.0.1"}) {
		t.Errorf("the IPv4 slice leads to %v", got)
	}
	w.quiet("with an empty slice")
}

// address gives a pod another address.
func (w *world) address(pod, ip string) {
	w.t.Helper()
	var p corev1.Pod
	if err := api.Get(w.t.Context(), types.NamespacedName{Namespace: w.name.Namespace, Name: pod}, &p); err != nil {
		w.t.Fatal(err)
	}
	p.Status.PodIP, p.Status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
	if err := api.Status().Update(w.t.Context(), &p); err != nil {
		w.t.Fatal(err)
	}
}

func TestDriftIsRepaired(t *testing.T) {
	w := healthy(t, 1)
	for _, obj := range []client.Object{
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: w.name.Namespace, Name: "db-r"}},
		&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: w.name.Namespace, Name: "db-ipv4"}},
	} {
		if err := api.Delete(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	set := w.statefulSet()
	set.Spec.Replicas = ptr.To[int32](0)
	if err := api.Update(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	if _, err := w.reconcile(); err != nil {
		t.Fatal(err)
	}
	w.owned()
	if *w.statefulSet().Spec.Replicas != 1 || len(w.targets("db")) != 1 {
		t.Errorf("%d replicas, endpoints %v", *w.statefulSet().Spec.Replicas, w.targets("db"))
	}
}

func TestNothingIsDoneWithoutLeadership(t *testing.T) {
	w := newWorld(t)
	w.create(instances(1))
	w.Observer.Term = func() (uint64, bool) { return 0, false }
	result, err := w.reconcile()
	if err != nil || result.RequeueAfter <= 0 || w.writes.Writes() != 0 {
		t.Errorf("%+v, %v, %d writes", result, err, w.writes.Writes())
	}
}

func TestWhatCannotBeObservedIsUnknown(t *testing.T) {
	w := healthy(t, 1)
	broken := errors.New("the pods cannot be listed")
	w.Observer.Cached = interceptor.NewClient(api, interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error { return broken },
	})
	for range 2 {
		if _, err := w.reconcile(); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	}
	s := w.cluster().Status
	ready := condition.Find(s.Conditions, v1alpha1.ConditionReady)
	if s.Summary != v1alpha1.SummaryUnknown || ready.Status != metav1.ConditionUnknown || !strings.Contains(ready.Message, broken.Error()) {
		t.Errorf("summary %s, %+v", s.Summary, ready)
	}
	if s.Record == nil || s.Record.Primary != "db-0" || s.Endpoints == nil {
		t.Errorf("what was known is lost: %+v", s)
	}
	w.restart(api)
	w.until("healthy cluster", w.healthy("db-0"))
}

// TestAFailedPartDoesNotDelayAFailover: while a primary is silent, a write that is refused for ever must not stretch the
// pauses between the rounds.
func TestAFailedPartDoesNotDelayAFailover(t *testing.T) {
	w := newWorld(t)
	w.seed(3, nil)
	w.edit(func(c *v1alpha1.MySQLCluster) { c.Spec.Storage.Size = resource.MustParse("20Gi") })
	if _, err := w.reconcile(); err == nil {
		t.Fatal("nothing was refused, so nothing is tested")
	}
	w.agents.lose("db-0")
	w.agents.settle()
	result, err := w.reconcile()
	if err != nil || result.RequeueAfter <= 0 || result.RequeueAfter.Seconds() > 1 {
		t.Errorf("a silent primary is looked at again after %s (%v)", result.RequeueAfter, err)
	}
}
