package manager

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/kapok-operators/kapok/shared/observability/jsonlog"
	"github.com/kapok-operators/kapok/shared/observability/otlp"
)

// Defaults of the flags.
const (
	DefaultHealthAddress         = ":8081"
	DefaultMetricsAddress        = ":8443"
	DefaultLeaseDuration         = 4 * time.Second
	DefaultRenewDeadline         = 3 * time.Second
	DefaultRetryPeriod           = 500 * time.Millisecond
	DefaultGracefulStop          = 10 * time.Second
	DefaultReconciliationTimeout = time.Minute
)

// Config says how an operator is run. The first part is bound to flags by
// BindFlags; the second is the operator's own and set in its composition root.
type Config struct {
	// Namespaces to watch; empty means all.
	Namespaces []string
	// HealthAddress serves /healthz and /readyz; "0" switches it off.
	HealthAddress string
	// MetricsAddress serves /metrics over TLS with authentication and
	// authorization; "0" switches it off.
	MetricsAddress string
	// MetricsInsecure serves /metrics as plain HTTP to everybody instead.
	MetricsInsecure bool
	// LeaderElection must be on if more than one replica may run.
	LeaderElection bool
	// LeaderElectionNamespace is where the Lease lives; empty means the
	// operator's own namespace.
	LeaderElectionNamespace string
	// LeaseDuration, RenewDeadline and RetryPeriod time the election. A leader
	// renews its Lease every RetryPeriod, and a standby looks at it three times as
	// often: one that is gone without a word is replaced after LeaseDuration and
	// at most one and a half RetryPeriods.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
	// GracefulStop is how long running reconciles may take to end.
	GracefulStop time.Duration
	// Concurrency is the default number of reconciles of a controller at a time.
	Concurrency int
	// Shard is this process's part of the objects; the zero value is all of them.
	// Its flags are bound by BindShardFlags.
	Shard Shard
	// LogLevel is 0 for what a human needs to know, more for detail, at most 9.
	LogLevel int
	// Pod is the operator's own: it is in every log line and span.
	Pod jsonlog.Pod
	// Traces says where traces go.
	Traces otlp.Config

	// Name is the operator's: it is the field manager and names the Lease. It
	// is a DNS label.
	Name string
	// Scheme holds all types used. Required.
	Scheme *runtime.Scheme
	// ByObject narrows the cache of a kind by selectors and transforms.
	ByObject map[client.Object]cache.ByObject
	// Uncached are kinds that are always read live, besides Secrets.
	Uncached []client.Object
	// ReconciliationTimeout bounds one reconcile; zero means the default.
	ReconciliationTimeout time.Duration
	// Version is the operator's, for kapok_operator_info and traces.
	Version string
	// Metrics is where the operator's metrics are registered; nil registers none.
	// Served is the controller-runtime's registry, so that an operator gives that
	// one.
	Metrics prometheus.Registerer
	// WebhookServer serves admission webhooks; nil if there are none.
	WebhookServer webhook.Server
}

// BindFlags binds the first part of the configuration to flags and sets the
// defaults. The environment is not read.
func BindFlags(fs *flag.FlagSet, c *Config) {
	fs.Func("namespaces", "comma-separated `list` of the namespaces to watch; empty means all", func(value string) error {
		namespaces, err := parseNamespaces(value)
		if err != nil {
			return err
		}
		c.Namespaces = namespaces
		return nil
	})
	fs.StringVar(&c.HealthAddress, "health-address", DefaultHealthAddress, "where to serve /healthz and /readyz; 0 switches it off")
	fs.StringVar(&c.MetricsAddress, "metrics-address", DefaultMetricsAddress, "where to serve /metrics over TLS, for authorized clients only; 0 switches it off")
	fs.BoolVar(&c.MetricsInsecure, "metrics-insecure", false, "serve /metrics as plain HTTP to everybody")
	fs.BoolVar(&c.LeaderElection, "leader-election", true, "elect a leader among the replicas")
	fs.StringVar(&c.LeaderElectionNamespace, "leader-election-namespace", "", "`namespace` of the election's Lease; empty means the operator's own")
	fs.DurationVar(&c.LeaseDuration, "lease-duration", DefaultLeaseDuration, "after this time without a renewal the leader is replaced")
	fs.DurationVar(&c.RenewDeadline, "renew-deadline", DefaultRenewDeadline, "after this time without a renewal the leader gives up")
	fs.DurationVar(&c.RetryPeriod, "retry-period", DefaultRetryPeriod, "time between renewals of the lease; a replica that stands by looks at it three times as often")
	fs.DurationVar(&c.GracefulStop, "graceful-stop", DefaultGracefulStop, "how long running work may take to end when the operator is stopped")
	fs.IntVar(&c.Concurrency, "concurrency", 4, "objects of a kind that are reconciled at the same time")
	fs.IntVar(&c.LogLevel, "log-level", 0, "0 for what a human needs to know, up to 9 for more detail")
	fs.StringVar(&c.Pod.Name, "pod-name", "", "the operator's own pod, for logs, traces and metrics")
	fs.StringVar(&c.Pod.Namespace, "pod-namespace", "", "its namespace")
	fs.StringVar(&c.Pod.UID, "pod-uid", "", "its UID")
	otlp.BindFlags(fs, &c.Traces)
}

func parseNamespaces(value string) ([]string, error) {
	var out []string
	for name := range strings.SplitSeq(value, ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
			return nil, fmt.Errorf("%q is not the name of a namespace: %s", name, problems[0])
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// Validate says what is wrong with the configuration.
func (c *Config) Validate() error {
	var problems []error
	if names := validation.IsDNS1123Label(c.Name); len(names) > 0 {
		problems = append(problems, fmt.Errorf("name %q: %s", c.Name, names[0]))
	}
	if c.Scheme == nil {
		problems = append(problems, errors.New("the scheme is missing"))
	}
	if c.LeaderElection {
		switch {
		case c.RetryPeriod <= 0 || c.RenewDeadline <= 0:
			problems = append(problems, errors.New("retry period and renew deadline must be positive"))
		case c.RenewDeadline >= c.LeaseDuration:
			problems = append(problems, fmt.Errorf("the renew deadline (%s) must be shorter than the lease duration (%s), or two replicas may lead", c.RenewDeadline, c.LeaseDuration))
		case c.RetryPeriod*2 > c.RenewDeadline:
			problems = append(problems, fmt.Errorf("the retry period (%s) must fit twice into the renew deadline (%s)", c.RetryPeriod, c.RenewDeadline))
		}
	}
	if c.GracefulStop < 0 {
		problems = append(problems, errors.New("the graceful stop must not be negative"))
	}
	if c.Concurrency < 0 || c.LogLevel < 0 || c.LogLevel > 9 {
		problems = append(problems, errors.New("concurrency must not be negative, and the log level is 0 to 9"))
	}
	problems = append(problems, c.Shard.validate(c.LeaderElection), c.Traces.Validate())
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("configuration of the operator: %w", err)
	}
	return nil
}
