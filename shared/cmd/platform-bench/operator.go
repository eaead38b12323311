package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/kapok-operators/kapok/shared/apply"
	"github.com/kapok-operators/kapok/shared/condition"
	"github.com/kapok-operators/kapok/shared/event"
	"github.com/kapok-operators/kapok/shared/manager"
)

const (
	operatorName = "platform-bench"
	namespace    = "platform-bench"
	ready        = "Ready"
)

var settledEvent = event.Definition{Type: event.Normal, Reason: "Settled", Action: "Apply", Meaning: "The Widget has its ConfigMap."}

// newScheme returns the types that the benchmark uses.
func newScheme() *k8sruntime.Scheme {
	s := k8sruntime.NewScheme()
	if err := clientgoscheme.AddToScheme(s); err != nil {
		panic(fmt.Sprintf("register the Kubernetes types: %v", err))
	}
	addTypes(s)
	return s
}

// reconciler gives every Widget its ConfigMap and its condition.
type reconciler struct {
	client  client.Client
	applier *apply.Applier
	emitter *event.Emitter
	meter   *meter
	// wait is what the reconcile of each change waits for something outside.
	wait time.Duration
	// gate holds reconciles back while it is locked.
	gate sync.RWMutex
}

// Reconcile implements reconcile.Reconciler.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var w Widget
	if err := r.client.Get(ctx, req.NamespacedName, &w); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	r.gate.RLock()
	defer r.gate.RUnlock()
	if r.meter.began(req.NamespacedName, w.Spec.Sent, time.Now()) && r.wait > 0 {
		timer := time.NewTimer(r.wait)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return ctrl.Result{}, ctx.Err()
		case <-timer.C:
		}
	}
	owner := metav1ac.OwnerReference().WithAPIVersion(groupVersion.String()).WithKind("Widget").
		WithName(w.Name).WithUID(w.UID).WithController(true).WithBlockOwnerDeletion(true)
	cm := corev1ac.ConfigMap(w.Name, w.Namespace).WithOwnerReferences(owner).
		WithLabels(map[string]string{"app.kubernetes.io/managed-by": operatorName, "app.kubernetes.io/instance": w.Name}).
		WithData(map[string]string{"value": w.Spec.Value})
	if _, err := r.applier.Apply(ctx, cm); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.report(ctx, &w); err != nil {
		return ctrl.Result{}, err
	}
	r.meter.finished(req.NamespacedName, w.Spec.Sent)
	return ctrl.Result{}, nil
}

func (r *reconciler) report(ctx context.Context, w *Widget) error {
	next := condition.Merge([]string{ready}, w.Status.Conditions,
		[]metav1.Condition{condition.True(ready, "Applied", "The ConfigMap has the value.")}, w.Generation, metav1.Now())
	was := condition.Find(w.Status.Conditions, ready)
	if was != nil && *was == next[0] {
		return nil
	}
	status, err := k8sruntime.DefaultUnstructuredConverter.ToUnstructured(&WidgetStatus{Conditions: next})
	if err != nil {
		return fmt.Errorf("encode the status of %s: %w", w.Name, err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": status}}
	u.SetGroupVersionKind(groupVersion.WithKind("Widget"))
	u.SetNamespace(w.Namespace)
	u.SetName(w.Name)
	if err := r.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(operatorName+"-status"), client.ForceOwnership); err != nil {
		return fmt.Errorf("report %s: %w", w.Name, err)
	}
	if len(condition.Changed(w.Status.Conditions, next)) > 0 {
		r.emitter.Emit(w, settledEvent.Event("The ConfigMap has the value."))
	}
	return nil
}

// runOperator is the second process: an operator as its users would start it. It prints where its figures can be read.
func runOperator(ctx context.Context, args []string) error {
	c := manager.Config{Name: operatorName, Scheme: newScheme()}
	fs := flag.NewFlagSet("operator", flag.ContinueOnError)
	manager.BindFlags(fs, &c)
	manager.BindShardFlags(fs, &c.Shard)
	wait := fs.Duration("wait", 0, "how long the reconcile of each change waits")
	kubeconfig := fs.String("kubeconfig", "", "`file` that says where the API server is")
	if err := fs.Parse(args); err != nil {
		return err
	}
	c.LeaderElectionNamespace = namespace
	c.HealthAddress, c.MetricsAddress = "0", "0"
	strip := cache.ByObject{Transform: c.Shard.Strip(manager.Controlled, nil)}
	c.ByObject = map[client.Object]cache.ByObject{&Widget{}: strip, &corev1.ConfigMap{}: strip}
	rc, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	// As controller-runtime's own loader has it: priority and fairness on the server, no limit in the client.
	rc.QPS = -1
	m := newMeter()
	rc.Wrap(m.transport)
	log := manager.NewLogger(c)
	ctrl.SetLogger(log)
	mgr, err := manager.New(rc, c, log)
	if err != nil {
		return err
	}
	r := &reconciler{
		client:  mgr.GetClient(),
		applier: &apply.Applier{Client: mgr.GetClient(), FieldOwner: operatorName},
		emitter: event.NewEmitter(mgr.GetEventRecorder(operatorName), 1),
		meter:   m,
		wait:    *wait,
	}
	noting := predicate.NewPredicateFuncs(func(obj client.Object) bool {
		m.queued(client.ObjectKeyFromObject(obj), time.Now())
		return true
	})
	if err := ctrl.NewControllerManagedBy(mgr).For(&Widget{}, builder.WithPredicates(noting)).Owns(&corev1.ConfigMap{}).Complete(mgr.Sharded(r)); err != nil {
		return fmt.Errorf("set up the controller: %w", err)
	}
	if err := serveFigures(ctx, m, mgr.Term, &r.gate); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// serveFigures serves what the meter has counted, on the loopback interface.
func serveFigures(ctx context.Context, m *meter, term *manager.Term, gate *sync.RWMutex) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("serve the figures: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /figures", func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Query().Has("collect") {
			// Twice: what the first round only marks for finalization is gone after the second.
			runtime.GC()
			runtime.GC()
		}
		f := m.figures()
		_, f.Leads = term.Term()
		_ = json.NewEncoder(w).Encode(f)
	})
	mux.HandleFunc("POST /reset", func(http.ResponseWriter, *http.Request) { m.reset(time.Now()) })
	mux.HandleFunc("POST /hold", func(http.ResponseWriter, *http.Request) { gate.Lock() })
	mux.HandleFunc("POST /release", func(http.ResponseWriter, *http.Request) { gate.Unlock() })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	_, err = io.WriteString(os.Stdout, l.Addr().String()+"\n")
	return err
}
