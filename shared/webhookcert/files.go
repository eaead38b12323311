package webhookcert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/certwatcher"

	"github.com/kapok-operators/kapok/shared/pki"
)

// files is a Source whose certificates are made by somebody else and mounted.
type files struct {
	Options
	watched *watched

	certificate atomic.Pointer[tls.Certificate]
	status      atomic.Pointer[Status]
	// trusted is set for ever once the certificate was trusted.
	trusted atomic.Bool

	// Start alone uses what follows: what is in service, and what is mounted.
	active, mounted standing
}

// standing is a certificate, and since when it is what it is worth now.
type standing struct {
	certificate *tls.Certificate
	verdict     verdict
	// since is the uptime since which it is trusted, if it is.
	since time.Duration
}

func newFiles(o Options, w *watched) *files {
	f := &files{Options: o, watched: w}
	f.status.Store(&Status{Mode: o.Mode, Why: "the files in " + o.Directory + " have not been read yet"})
	return f
}

// errNoCertificate is for whoever calls too early.
var errNoCertificate = errors.New("there is no serving certificate yet")

// GetCertificate implements Source.
func (f *files) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if certificate := f.certificate.Load(); certificate != nil {
		return certificate, nil
	}
	return nil, errNoCertificate
}

// Status implements Source.
func (f *files) Status() Status { return *f.status.Load() }

// Ready implements Source.
func (f *files) Ready(*http.Request) error {
	return readiness(f.Status(), f.trusted.Load(), f.times.now().Wall)
}

// Start implements Source.
func (f *files) Start(ctx context.Context) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	workers.Go(func() { f.watched.run(ctx) })
	mounted := make(chan *certwatcher.CertWatcher, 1)
	workers.Go(func() { f.read(ctx, mounted) })
	var reader *certwatcher.CertWatcher
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case reader = <-mounted:
		case <-f.watched.wake:
		case <-timer.C:
		}
		timer.Reset(f.times.look)
		if reader != nil {
			f.round(reader)
		}
	}
}

// read keeps the files read. The mount may come late, and may go and come back.
func (f *files) read(ctx context.Context, mounted chan<- *certwatcher.CertWatcher) {
	for ctx.Err() == nil {
		reader, err := certwatcher.New(filepath.Join(f.Directory, certificateFile), filepath.Join(f.Directory, keyFile))
		if err == nil {
			reader.RegisterCallback(func(tls.Certificate) { f.watched.poke() })
			mounted <- reader
			err = reader.WithWatchInterval(f.times.look).Start(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			f.Logger.Error(err, "Could not read the certificate of the webhooks", "directory", f.Directory)
			if f.certificate.Load() == nil {
				status := f.Status()
				status.Why = err.Error()
				f.status.Store(&status)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(f.times.retry):
		}
	}
}

// round looks at the files and the bundles, and serves what is best.
func (f *files) round(reader *certwatcher.CertWatcher) {
	now, view := f.times.now(), f.watched.view()
	status := f.Status()
	f.active = f.active.see(now, f.active.certificate, view)
	// It never fails: it returns what it has.
	if read, err := reader.GetCertificate(nil); err == nil && read != nil && !same(f.active.certificate, read) {
		f.mounted = f.mounted.see(now, read, view)
		take, why := choose(now, f.active, f.mounted, f.times.policy.Settle)
		if take {
			if f.active.certificate != nil {
				status.Changes++
			}
			f.active = f.mounted
			f.certificate.Store(read)
			f.Logger.Info("Serving a new certificate for the webhooks", "directory", f.Directory, "notAfter", read.Leaf.NotAfter)
		} else {
			f.Logger.V(1).Info("Keeping the certificate of the webhooks although another one is mounted", "reason", why)
		}
	}
	verdict := f.active.verdict
	if status.Trusted != verdict.trusted {
		f.Logger.Info("Trust in the certificate of the webhooks has changed", "trusted", verdict.trusted, "reason", verdict.why)
	}
	status.Trusted, status.Why = verdict.trusted, verdict.why
	status.NotAfter, status.AuthorityNotAfter = verdict.notAfter, verdict.authorityNotAfter
	f.status.Store(&status)
	if verdict.trusted {
		f.trusted.Store(true)
	}
}

// see judges a certificate, and remembers since when it is trusted.
func (s standing) see(now pki.Moment, certificate *tls.Certificate, view []place) standing {
	out := standing{certificate: certificate, verdict: judge(now.Wall, certificate, view), since: now.Uptime}
	if s.verdict.trusted && out.verdict.trusted && same(s.certificate, certificate) {
		out.since = s.since
	}
	return out
}

func same(a, b *tls.Certificate) bool {
	return a != nil && b != nil && a.Leaf.Equal(b.Leaf)
}

// verdict is what a certificate is worth.
type verdict struct {
	exists, valid, trusted      bool
	why                         string
	notAfter, authorityNotAfter time.Time
}

// choose says whether to serve what is mounted instead of what is in service,
// and why not. What is trusted is kept as long as it is valid: a new certificate
// can be mounted before its authority is in the bundles, and an API server sees
// those a moment after this replica or before it.
func choose(now pki.Moment, active, mounted standing, settle time.Duration) (take bool, why string) {
	switch {
	case !active.verdict.exists || !active.verdict.valid:
		return true, ""
	case !mounted.verdict.valid:
		return false, "the one that is mounted: " + mounted.verdict.why
	case !active.verdict.trusted:
		return true, ""
	case !mounted.verdict.trusted:
		return false, "the one that is mounted is not trusted yet: " + mounted.verdict.why
	case now.Uptime-mounted.since < settle:
		return false, "the API servers are given a moment to see that the one that is mounted is trusted"
	default:
		return true, ""
	}
}

// judge asks for a certificate what an API server would that calls because of
// each of the places.
func judge(now time.Time, certificate *tls.Certificate, view []place) verdict {
	if certificate == nil {
		return verdict{why: "there is no certificate"}
	}
	leaf := certificate.Leaf
	v := verdict{exists: true, notAfter: leaf.NotAfter}
	if now.Before(leaf.NotBefore) || !now.Before(leaf.NotAfter) {
		v.why = fmt.Sprintf("it is valid from %s to %s only", leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339))
		return v
	}
	v.valid = true
	intermediates := x509.NewCertPool()
	for _, der := range certificate.Certificate[1:] {
		if parsed, err := x509.ParseCertificate(der); err == nil {
			intermediates.AddCert(parsed)
		}
	}
	for _, p := range view {
		switch p.State {
		case pki.PlaceUnknown:
			v.why = p.Name + " could not be read yet"
			return v
		case pki.PlaceAbsent:
			continue
		case pki.PlacePresent:
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(p.hook.bundle)
		chains, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, DNSName: p.host, CurrentTime: now})
		if err != nil {
			v.why = fmt.Sprintf("%s does not trust it: %v", p.Name, err)
			return v
		}
		root := chains[0][len(chains[0])-1]
		if v.authorityNotAfter.IsZero() || root.NotAfter.Before(v.authorityNotAfter) {
			v.authorityNotAfter = root.NotAfter
		}
	}
	v.trusted = true
	return v
}
