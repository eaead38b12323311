package webhookcert

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

// Source has the serving certificate and keeps it good.
type Source interface {
	// Start works until ctx ends. It returns nil then, and otherwise only if it
	// cannot go on at all.
	Start(ctx context.Context) error
	// GetCertificate is for tls.Config.
	GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error)
	// Status is how things stand.
	Status() Status
	// Ready is a readiness check: an error says what is missing.
	Ready(request *http.Request) error
}

// Status is how things stand with the certificate in service, for metrics,
// checks and people.
type Status struct {
	// Mode is where it comes from.
	Mode Mode
	// NotAfter is its end, AuthorityNotAfter that of the authority that signed it.
	// They are zero as long as there is none, or it is not known.
	NotAfter, AuthorityNotAfter time.Time
	// Trusted says that every named configuration trusts it; Why says what is
	// missing otherwise.
	Trusted bool
	Why     string
	// Changes counts the certificates that have followed the first one, and
	// AuthorityChanges how many of them came from another authority. (The latter is
	// not counted where the certificate is read from files.)
	Changes, AuthorityChanges int
}

// New prepares the source that the options ask for.
func New(rc *rest.Config, o Options) (Source, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.times.now == nil {
		o.times = defaultTimes(o.RenewBefore)
	}
	watched, err := newWatched(rc, o)
	if err != nil {
		return nil, err
	}
	if o.Mode == ModeSelf {
		return newSelf(o, watched)
	}
	return newFiles(o, watched), nil
}

// Server returns a webhook server with the source's certificate, which also runs
// the source. They are started together and before anything else of a manager:
// the caches may need the conversion that is served here before they can fill.
func Server(source Source, options webhook.Options) webhook.Server {
	tlsOpts := options.TLSOpts
	options.TLSOpts = append([]func(*tls.Config){func(c *tls.Config) { c.GetCertificate = source.GetCertificate }}, tlsOpts...)
	return &server{Server: webhook.NewServer(options), source: source}
}

// AddReadyCheck makes the readiness of an operator wait for the certificate.
func AddReadyCheck(mgr interface {
	AddReadyzCheck(name string, check healthz.Checker) error
}, source Source) error {
	if err := mgr.AddReadyzCheck("webhook-certificate", source.Ready); err != nil {
		return fmt.Errorf("add the readiness check of the webhook's certificate: %w", err)
	}
	return nil
}

type server struct {
	webhook.Server
	source Source
}

// Start serves until ctx ends. One that ends without the other ends it too: an
// operator that cannot renew its certificate must not go on as if it could.
func (s *server) Start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		defer cancel()
		ended <- s.source.Start(ctx)
	}()
	err := s.Server.Start(ctx)
	cancel()
	return errors.Join(err, <-ended)
}

// readiness turns a status into the answer of a readiness check.
func readiness(status Status, was bool, now time.Time) error {
	switch {
	case status.NotAfter.IsZero():
		return fmt.Errorf("the webhooks have no certificate: %s", status.Why)
	case !now.Before(status.NotAfter):
		return fmt.Errorf("the certificate of the webhooks has ended at %s", status.NotAfter.UTC().Format(time.RFC3339))
	case !was:
		return fmt.Errorf("the certificate of the webhooks is not trusted: %s", status.Why)
	default:
		return nil
	}
}
