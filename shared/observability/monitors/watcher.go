package monitors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// DefaultInterval is how often it is looked whether the kinds are there.
const DefaultInterval = 30 * time.Second

// syncWithin bounds how long a new cache may take to fill; it is made anew if it does not.
const syncWithin = time.Minute

// Availability says whether the kinds can be used.
type Availability string

// The availabilities.
const (
	// Unknown: it was not found out yet.
	Unknown Availability = "Unknown"
	// Absent: the API server does not know the kinds.
	Absent Availability = "Absent"
	// Forbidden: they are there, and this operator may not read them.
	Forbidden Availability = "Forbidden"
	// Available: they are there, and what the cache shows of them is current.
	Available Availability = "Available"
)

// State is what is known of the kinds.
type State struct {
	Availability Availability
	// Why says what is missing, for people; empty if nothing is.
	Why string
}

// Options configures a Watcher.
type Options struct {
	// Config reaches the API server.
	Config *rest.Config
	// Scheme must know the kinds (monitoringv1.AddToScheme).
	Scheme *runtime.Scheme
	// Namespaces to watch; empty means all.
	Namespaces []string
	// Selector narrows the cache to the operator's own objects.
	Selector labels.Selector
	// Interval is how often to look; zero means DefaultInterval.
	Interval time.Duration
	// OnState is called when the state has changed, OnObject when one of the objects has. They must not block.
	OnState  func(State)
	OnObject func(client.Object)
	// Logger receives changes of the state.
	Logger logr.Logger
}

// Watcher finds out whether the kinds can be used and, while they can, keeps a cache of them. Start runs it. It is safe for
// concurrent use, and a nil Watcher is one for which the kinds are absent.
type Watcher struct {
	opts       Options
	http       *http.Client
	discovery  *discovery.DiscoveryClient
	reader     client.Reader
	namespaces []string
	again      chan struct{}

	mu     sync.Mutex
	state  State
	cached client.Reader
	stop   func()
}

// New prepares a watcher.
func New(opts Options) (*Watcher, error) {
	opts.Interval = cmp.Or(opts.Interval, DefaultInterval)
	httpClient, err := rest.HTTPClientFor(opts.Config)
	if err != nil {
		return nil, fmt.Errorf("make the client for monitoring: %w", err)
	}
	found, err := discovery.NewDiscoveryClientForConfigAndClient(opts.Config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("make the client for discovery: %w", err)
	}
	mapper, err := apiutil.NewDynamicRESTMapper(opts.Config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("make the mapper for monitoring: %w", err)
	}
	live, err := client.New(opts.Config, client.Options{HTTPClient: httpClient, Scheme: opts.Scheme, Mapper: mapper})
	if err != nil {
		return nil, fmt.Errorf("make the client for monitoring: %w", err)
	}
	namespaces := opts.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	return &Watcher{opts: opts, http: httpClient, discovery: found, reader: live, namespaces: namespaces,
		again: make(chan struct{}, 1), state: State{Availability: Unknown}}, nil
}

// NeedLeaderElection lets standby replicas have a warm cache too.
func (w *Watcher) NeedLeaderElection() bool { return false }

// Start looks until ctx ends.
func (w *Watcher) Start(ctx context.Context) error {
	ticker := time.NewTicker(w.opts.Interval)
	defer ticker.Stop()
	defer w.drop()
	for {
		w.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-w.again:
		}
	}
}

// lookAgain has the watcher look before its time; to ask twice is to ask once.
func (w *Watcher) lookAgain() {
	select {
	case w.again <- struct{}{}:
	default:
	}
}

// State returns what is known.
func (w *Watcher) State() State {
	if w == nil {
		return State{Availability: Absent, Why: "this operator does not watch the kinds of prometheus-operator"}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// look finds out how things are and makes or drops the cache.
func (w *Watcher) look(ctx context.Context) {
	state, err := w.find(ctx)
	if err != nil {
		// Not to know is not to be absent: what was known stays.
		if ctx.Err() == nil {
			w.opts.Logger.Info("It could not be found out whether prometheus-operator's kinds are there", "error", err.Error())
		}
		return
	}
	switch running := w.running(); {
	case state.Availability != Available:
		w.drop()
	case !running:
		if err := w.fill(ctx); err != nil {
			w.opts.Logger.Info("The cache of prometheus-operator's kinds was not filled", "error", err.Error())
			return
		}
	}
	w.set(state)
}

// find asks whether the kinds are there and may be read. Once a cache runs it has shown that they may.
func (w *Watcher) find(ctx context.Context) (State, error) {
	version := monitoringv1.SchemeGroupVersion.String()
	resources, err := w.discovery.ServerResourcesForGroupVersion(version)
	if err != nil && !apierrors.IsNotFound(err) {
		return State{}, fmt.Errorf("discover %s: %w", version, err)
	}
	var missing []string
	for _, name := range []string{monitoringv1.PodMonitorName, monitoringv1.PrometheusRuleName} {
		known := err == nil && slices.ContainsFunc(resources.APIResources, func(r metav1.APIResource) bool { return r.Name == name })
		if !known {
			missing = append(missing, name+"."+monitoringv1.SchemeGroupVersion.Group)
		}
	}
	if len(missing) > 0 {
		return State{Absent, "this Kubernetes cluster does not know " + strings.Join(missing, " and ") + ": install prometheus-operator"}, nil
	}
	if w.running() {
		return State{Availability: Available}, nil
	}
	return w.mayRead(ctx)
}

// mayRead tries to read; whether the operator may also write, it learns when it does.
func (w *Watcher) mayRead(ctx context.Context) (State, error) {
	for _, namespace := range w.namespaces {
		for _, list := range []client.ObjectList{&monitoringv1.PodMonitorList{}, &monitoringv1.PrometheusRuleList{}} {
			err := w.reader.List(ctx, list, client.InNamespace(namespace), client.Limit(1))
			switch {
			case apierrors.IsForbidden(err):
				return State{Forbidden, "the operator's role lacks get, list and watch of podmonitors and prometheusrules (monitoring.coreos.com): " + err.Error()}, nil
			case err != nil:
				return State{}, fmt.Errorf("read %T: %w", list, err)
			}
		}
	}
	return State{Availability: Available}, nil
}

// fill makes a cache and waits until it shows the present.
func (w *Watcher) fill(ctx context.Context) error {
	mapper, err := apiutil.NewDynamicRESTMapper(w.opts.Config, w.http)
	if err != nil {
		return fmt.Errorf("make the mapper: %w", err)
	}
	options := cache.Options{
		HTTPClient: w.http, Scheme: w.opts.Scheme, Mapper: mapper, ReaderFailOnMissingInformer: true, DefaultLabelSelector: w.opts.Selector,
		DefaultNamespaces: map[string]cache.Config{},
	}
	for _, namespace := range w.namespaces {
		options.DefaultNamespaces[namespace] = cache.Config{}
	}
	made, err := cache.New(w.opts.Config, options)
	if err != nil {
		return fmt.Errorf("make the cache: %w", err)
	}
	inner, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := made.Start(inner); err != nil {
			w.opts.Logger.Info("The cache of prometheus-operator's kinds ended", "error", err.Error())
		}
	}()
	stop := func() { cancel(); <-ended }
	if err := w.inform(inner, made); err != nil {
		stop()
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cached, w.stop = made, stop
	return nil
}

// inform starts the informers and waits for them.
func (w *Watcher) inform(ctx context.Context, made cache.Cache) error {
	ctx, cancel := context.WithTimeout(ctx, syncWithin)
	defer cancel()
	for _, kind := range []client.Object{&monitoringv1.PodMonitor{}, &monitoringv1.PrometheusRule{}} {
		informer, err := made.GetInformer(ctx, kind, cache.BlockUntilSynced(true))
		if err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
		if w.opts.OnObject == nil {
			continue
		}
		if _, err := informer.AddEventHandler(w.handler()); err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
	}
	if !made.WaitForCacheSync(ctx) {
		return errors.New("the cache did not fill in time")
	}
	return nil
}

// handler tells of every change.
func (w *Watcher) handler() toolscache.ResourceEventHandler {
	tell := func(what any) {
		if gone, ok := what.(toolscache.DeletedFinalStateUnknown); ok {
			what = gone.Obj
		}
		if obj, ok := what.(client.Object); ok {
			w.opts.OnObject(obj)
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: tell, DeleteFunc: tell, UpdateFunc: func(_, now any) { tell(now) },
	}
}

func (w *Watcher) running() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cached != nil
}

// drop ends the cache.
func (w *Watcher) drop() {
	w.mu.Lock()
	stop := w.stop
	w.cached, w.stop = nil, nil
	w.mu.Unlock()
	if stop != nil {
		stop()
	}
}

func (w *Watcher) set(state State) {
	w.mu.Lock()
	changed := w.state != state
	w.state = state
	w.mu.Unlock()
	if !changed {
		return
	}
	w.opts.Logger.Info("Prometheus-operator's kinds", "availability", string(state.Availability), "why", state.Why)
	if w.opts.OnState != nil {
		w.opts.OnState(state)
	}
}

// current returns the cache, or an error while there is none.
func (w *Watcher) current() (client.Reader, error) {
	if w == nil {
		return nil, ErrUnavailable
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cached == nil {
		return nil, ErrUnavailable
	}
	return w.cached, nil
}

// ErrUnavailable says that the kinds could not be used: they are not there, or not any more.
var ErrUnavailable = errors.New("prometheus-operator's kinds are not available")
