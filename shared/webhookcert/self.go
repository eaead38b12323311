package webhookcert

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kapok-operators/kapok/shared/pki"
)

// self is a Source whose certificates are made here.
type self struct {
	Options
	watched *watched

	certificate atomic.Pointer[tls.Certificate]
	status      atomic.Pointer[Status]
	// trusted is set for ever once the certificate was trusted.
	trusted atomic.Bool

	// Start alone uses what follows.
	bundle  pki.Bundle
	signers map[string]*pki.Signer
	// listed is the uptime of the last list of the replicas, if there was one.
	listed   time.Duration
	wasList  bool
	failures int
}

// newSelf makes the first certificate at once, so that there is always one.
func newSelf(o Options, w *watched) (*self, error) {
	s := &self{Options: o, watched: w, signers: map[string]*pki.Signer{}, bundle: pki.Bundle{Replica: o.Replica}}
	s.status.Store(&Status{Mode: ModeSelf})
	for s.certificate.Load() == nil {
		now := s.times.now()
		view := w.view()
		s.bundle = s.bundle.See(now, places(view))
		for _, step := range pki.Decide(now, s.bundle, s.times.policy).Steps {
			if err := s.make(now, step); err != nil {
				return nil, fmt.Errorf("make the first certificate of the webhooks: %w", err)
			}
		}
	}
	return s, nil
}

// GetCertificate implements Source.
func (s *self) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.certificate.Load(), nil
}

// Status implements Source.
func (s *self) Status() Status { return *s.status.Load() }

// Ready implements Source.
func (s *self) Ready(*http.Request) error {
	return readiness(s.Status(), s.trusted.Load(), s.times.now().Wall)
}

// Start implements Source.
func (s *self) Start(ctx context.Context) error {
	var watching sync.WaitGroup
	watching.Go(func() { s.watched.run(ctx) })
	defer watching.Wait()
	for {
		timer := time.NewTimer(s.round(ctx))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-s.watched.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// round decides and acts until nothing is left to do but wait, and says for how
// long.
func (s *self) round(ctx context.Context) time.Duration {
	for {
		now := s.times.now()
		view := s.watched.view()
		s.bundle = s.bundle.See(now, places(view))
		s.list(ctx, now)
		plan := pki.Decide(now, s.bundle, s.times.policy)
		s.report(plan)
		next, err := s.act(ctx, now, view, plan)
		switch {
		case ctx.Err() != nil:
			return s.times.look
		case err != nil:
			s.Logger.Error(err, "Could not keep the certificate of the webhooks")
			s.failures++
			return min(s.times.look, s.times.retry<<min(s.failures-1, 16))
		}
		s.failures = 0
		switch next {
		case decideAgain:
		case tryAgain:
			return s.times.retry
		case wait:
			return cmp.Or(min(plan.Wait, s.times.look), s.times.look)
		}
	}
}

// next says what follows when the steps of a plan were taken.
type next int

const (
	// wait for what the watch shows, or for time to pass.
	wait next = iota
	// decideAgain at once: what was done changes what is known.
	decideAgain
	// tryAgain soon: somebody else has changed a bundle meanwhile.
	tryAgain
)

// act takes the steps of a plan.
func (s *self) act(ctx context.Context, now pki.Moment, view []place, plan pki.Plan) (next, error) {
	made := false
	bundles := map[string][]byte{}
	for _, step := range plan.Steps {
		publish, isPublish := step.(pki.Publish)
		if !isPublish {
			if err := s.make(now, step); err != nil {
				return wait, err
			}
			made = true
			continue
		}
		i := slices.IndexFunc(view, func(p place) bool { return p.Name == publish.Place })
		var add []*x509.Certificate
		for _, id := range publish.Add {
			add = append(add, s.signers[id].Certificate)
		}
		bundles[publish.Place] = pki.Edit(view[i].hook.bundle, add, publish.Remove)
		s.Logger.V(1).Info("Publishing the authority of the webhooks", "place", publish.Place, "reason", publish.Why)
	}
	// A step above may have made this write outdated; the next round has the whole.
	if made {
		return decideAgain, nil
	}
	written, outdated, err := s.watched.publish(ctx, view, bundles)
	if len(written) > 0 {
		s.Logger.Info("Published the authority of the webhooks", "configurations", written)
	}
	if outdated {
		return tryAgain, err
	}
	return wait, err
}

// make takes a step that needs nobody else.
func (s *self) make(now pki.Moment, step pki.Step) error {
	switch step := step.(type) {
	case pki.MakeAuthority:
		return s.makeAuthority(now, step)
	case pki.Serve:
		return s.serve(now, step)
	case pki.Forget:
		delete(s.signers, step.Authority)
		s.bundle.Own = slices.DeleteFunc(slices.Clone(s.bundle.Own), func(a pki.Authority) bool { return a.ID == step.Authority })
	}
	return nil
}

func (s *self) makeAuthority(now pki.Moment, step pki.MakeAuthority) error {
	dns, ips := s.names()
	opts := pki.SignerOptions{Group: s.group(), Replica: s.Replica, DNSNames: dns, IPs: ips, Life: s.times.policy.AuthorityLife}
	if n := len(s.bundle.Own); n > 0 {
		opts.Since = s.bundle.Own[n-1].NotBefore
	}
	signer, err := pki.NewSigner(now, opts)
	if err != nil {
		return err
	}
	s.signers[signer.ID] = signer
	s.bundle.Own = append(slices.Clone(s.bundle.Own), signer.Authority)
	s.Logger.Info("Made an authority for the certificate of the webhooks", "reason", step.Why, "authority", signer.ID, "notAfter", signer.NotAfter)
	return nil
}

func (s *self) serve(now pki.Moment, step pki.Serve) error {
	signer := s.signers[step.Authority]
	certificate, leaf, err := signer.Issue(now, s.times.policy.LeafLife)
	if err != nil {
		return err
	}
	status := s.Status()
	if s.bundle.Leaf != nil {
		status.Changes++
		if s.bundle.Leaf.Authority != leaf.Authority {
			status.AuthorityChanges++
		}
	}
	status.NotAfter, status.AuthorityNotAfter = leaf.NotAfter, signer.NotAfter
	s.bundle.Leaf = &leaf
	s.certificate.Store(certificate)
	s.status.Store(&status)
	s.Logger.Info("Serving a new certificate for the webhooks", "reason", step.Why, "authority", leaf.Authority, "notAfter", leaf.NotAfter)
	return nil
}

// report publishes how things stand, and tells when that changes.
func (s *self) report(plan pki.Plan) {
	status := s.Status()
	if status.Trusted != plan.Trusted {
		s.Logger.Info("Trust in the certificate of the webhooks has changed", "trusted", plan.Trusted, "reason", plan.Why)
	}
	status.Trusted, status.Why = plan.Trusted, plan.Why
	s.status.Store(&status)
	if plan.Trusted {
		s.trusted.Store(true)
	}
}

// list asks which replicas exist, now and then, if others have published
// anything. A list that fails is tried again like one that is due.
func (s *self) list(ctx context.Context, now pki.Moment) {
	if s.wasList && now.Uptime-s.listed < s.times.list {
		return
	}
	others := slices.ContainsFunc(s.bundle.Places, func(p pki.Place) bool {
		return slices.ContainsFunc(p.Entries, func(e pki.Entry) bool { return e.Replica != "" && e.Replica != s.Replica })
	})
	if !others {
		return
	}
	s.wasList, s.listed = true, now.Uptime
	live, err := s.Replicas(ctx)
	if err != nil {
		s.Logger.Error(err, "Could not list the operator's replicas; their authorities are kept")
		live = nil
	}
	s.bundle.Live = live
}

func places(view []place) []pki.Place {
	out := make([]pki.Place, 0, len(view))
	for _, p := range view {
		out = append(out, p.Place)
	}
	return out
}
