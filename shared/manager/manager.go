// Package manager starts an operator in one opinionated way.
//
//   - The cache watches the given namespaces and never starts an informer by
//     accident: reading a kind that nobody watches is an error. Secrets are not
//     cached. There is no periodic resync, which would only replay what the
//     cache holds.
//   - Standby replicas keep their caches warm; a leader that stops hands its
//     lease over at once, and one that is gone is replaced within seconds.
//   - Leadership has a number that only grows (Term), so that what a deposed
//     leader said late can be told from the word of the present one.
//   - Writes carry the operator's name as field manager and are validated
//     strictly.
//   - Metrics, traces and logs can be joined (package observability).
//
// The program must end when Start returns, or start again: the lease has been
// given up or lost then.
package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/kapok-operators/kapok/shared/observability"
	"github.com/kapok-operators/kapok/shared/observability/jsonlog"
	"github.com/kapok-operators/kapok/shared/observability/otlp"
)

// namespaceFile says in which namespace a pod runs.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// Manager is a controller-runtime manager that knows the term of its leadership.
type Manager struct {
	ctrl.Manager
	// Term is the term of this replica's leadership.
	Term *Term
	// Shard is the part of the objects that this replica works on.
	Shard Shard
	// Telemetry is what controllers and actors record their work with.
	Telemetry *observability.Telemetry
	// Certificates are those whose expiry is exposed.
	Certificates *observability.Certificates
	// Exporter sends the traces; nil if they go nowhere.
	Exporter *otlp.Exporter
	// keepsToShard says that Sharded was used.
	keepsToShard bool
}

// New prepares an operator from its configuration. The process's logger must be
// set before (SetLogger).
func New(rc *rest.Config, c Config, log logr.Logger) (*Manager, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	options := Options(c)
	options.Logger = log
	options.Controller.Logger = log
	term := &Term{}
	if c.LeaderElection {
		lock, generation, err := newLock(rc, c)
		if err != nil {
			return nil, err
		}
		term.lock = lock
		// The Lease counts in whole seconds.
		term.tenure = &tenure{
			Interface: lock, duration: c.LeaseDuration.Truncate(time.Second), deadline: c.RenewDeadline,
			// Half a look before its time, so that a look which comes a little early is not one in vain.
			every: c.RetryPeriod - look(c.RetryPeriod)/2, generation: generation, now: time.Now,
		}
		options.LeaderElectionResourceLockInterface = term.tenure
	}
	mgr, err := ctrl.NewManager(rc, options)
	if err != nil {
		return nil, fmt.Errorf("make the manager: %w", err)
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("add the liveness check: %w", err)
	}
	if err := mgr.AddReadyzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("add the readiness check: %w", err)
	}
	if err := mgr.Add(term); err != nil {
		return nil, fmt.Errorf("add the leadership term: %w", err)
	}
	out := &Manager{Manager: mgr, Term: term, Shard: c.Shard, Certificates: &observability.Certificates{}}
	if err := out.observe(c, log); err != nil {
		return nil, err
	}
	return out, nil
}

// Start runs the operator until ctx ends, and then sends the last traces. The
// lease has been given up by then. The program must end after that, or start
// again (Again) if the error is ErrLeadershipLost.
func (m *Manager) Start(ctx context.Context) error {
	if m.Shard.divided() && !m.keepsToShard {
		return errUnsharded
	}
	err := m.Term.explain(m.Manager.Start(ctx))
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), otlp.FlushTimeout)
	defer cancel()
	if lost := m.Exporter.Flush(flush); lost != nil {
		// That the traces are not whole is no reason to call the operator's end a failure.
		m.GetLogger().Info("The last traces were not sent", "reason", lost.Error())
	}
	return err
}

// Options returns the options that a configuration stands for, without the
// logger and the election's lock. New uses it; it is exported so that what an
// operator runs with can be looked at.
func Options(c Config) ctrl.Options {
	period := look(c.RetryPeriod)
	options := ctrl.Options{
		Scheme: c.Scheme,
		Cache: cache.Options{
			ByObject:                    c.ByObject,
			ReaderFailOnMissingInformer: true,
			SyncPeriod:                  ptr.To(time.Duration(0)),
		},
		Client: client.Options{
			Cache:           &client.CacheOptions{DisableFor: append([]client.Object{&corev1.Secret{}}, c.Uncached...)},
			FieldOwner:      c.Name,
			FieldValidation: metav1.FieldValidationStrict,
		},
		LeaderElection:                c.LeaderElection,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &c.LeaseDuration,
		RenewDeadline:                 &c.RenewDeadline,
		RetryPeriod:                   &period,
		HealthProbeBindAddress:        c.HealthAddress,
		Metrics:                       metricsserver.Options{BindAddress: cmp.Or(c.MetricsAddress, "0")},
		GracefulShutdownTimeout:       &c.GracefulStop,
		WebhookServer:                 c.WebhookServer,
		Controller: config.Controller{
			EnableWarmup:            new(true),
			MaxConcurrentReconciles: c.Concurrency,
			ReconciliationTimeout:   cmp.Or(c.ReconciliationTimeout, DefaultReconciliationTimeout),
		},
	}
	if len(c.Namespaces) > 0 {
		options.Cache.DefaultNamespaces = map[string]cache.Config{}
		for _, namespace := range c.Namespaces {
			options.Cache.DefaultNamespaces[namespace] = cache.Config{}
		}
	}
	options.Metrics.HandlerOpts = []func(*promhttp.HandlerOpts){func(o *promhttp.HandlerOpts) {
		// Exemplars are in OpenMetrics and in protobuf only.
		o.EnableOpenMetrics = true
		// One series that cannot be served must not hide the others.
		o.ErrorHandling = promhttp.ContinueOnError
	}}
	if !c.MetricsInsecure {
		options.Metrics.SecureServing = true
		options.Metrics.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	return options
}

// newLock makes the election's lock here, so that the identity in the Lease is
// known to Term. Events of the election are not recorded: they would need a
// permission that nothing else needs, and the Lease says the same. With shards the
// Lease is that of the shard, and the operator's is held by all of them together.
func newLock(rc *rest.Config, c Config) (*resourcelock.LeaseLock, *generation, error) {
	namespace, err := electionNamespace(c)
	if err != nil {
		return nil, nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, nil, fmt.Errorf("name this replica for the election: %w", err)
	}
	// A copy: AddUserAgent changes what it is given, and the timeout below would end every watch of the manager.
	rc = rest.AddUserAgent(rest.CopyConfig(rc), "leader-election")
	// One hung request must not cost the leadership.
	rc.Timeout = max(c.RenewDeadline/2, time.Second)
	leases, err := coordinationv1client.NewForConfig(rc)
	if err != nil {
		return nil, nil, fmt.Errorf("make the election's client: %w", err)
	}
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: c.Name},
		Client:     leases,
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())},
	}
	if !c.Shard.divided() {
		return lock, nil, nil
	}
	lock.LeaseMeta.Name = fmt.Sprintf("%s-shard-%d", c.Name, c.Shard.Index)
	return lock, &generation{
		leases: leases.Leases(namespace), name: c.Name, shard: c.Shard, duration: c.LeaseDuration.Truncate(time.Second), now: time.Now,
	}, nil
}

func electionNamespace(c Config) (string, error) {
	if c.LeaderElectionNamespace != "" {
		return c.LeaderElectionNamespace, nil
	}
	namespace, err := c.OwnNamespace()
	if err != nil {
		return "", fmt.Errorf("find the election's namespace (or set -leader-election-namespace): %w", err)
	}
	return namespace, nil
}

// OwnNamespace returns the namespace of the pod that this program runs in: what
// the flag says, else what Kubernetes has left in the pod.
func (c Config) OwnNamespace() (string, error) {
	if c.Pod.Namespace != "" {
		return c.Pod.Namespace, nil
	}
	raw, err := os.ReadFile(namespaceFile)
	if err != nil {
		return "", fmt.Errorf("read the pod's namespace: %w", err)
	}
	namespace := strings.TrimSpace(string(raw))
	if namespace == "" {
		return "", errors.New("the pod's namespace is empty")
	}
	return namespace, nil
}

// NewLogger returns the operator's logger: one JSON object per line on stderr,
// with the keys of package jsonlog.
func NewLogger(c Config) logr.Logger {
	// logr's level n is slog's level -n.
	return logr.FromSlogHandler(jsonlog.New(os.Stderr, slog.Level(-c.LogLevel), c.Pod))
}

// SetLogger makes log the logger of everything in the process that has none of
// its own: the controller-runtime, and client-go, which would write plain text
// between the JSON. It is for the composition root.
func SetLogger(log logr.Logger) {
	ctrl.SetLogger(log)
	klog.SetLogger(log.WithName("client-go"))
}
