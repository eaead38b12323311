package pki

import (
	"errors"
	"fmt"
	"time"
)

// Defaults of a Policy.
const (
	DefaultAuthorityLife = 30 * 24 * time.Hour
	DefaultLeafLife      = 7 * 24 * time.Hour
	DefaultRenewBefore   = 168 * time.Hour
	DefaultSettle        = 30 * time.Second
	DefaultGrace         = 5 * time.Minute
)

// MaxLeafLife is the longest life of a leaf: its key cannot be revoked.
const MaxLeafLife = 7 * 24 * time.Hour

// readySettle is how long an authority must have been everywhere before its leaf
// counts as trusted. An API server reads its webhook configurations from a watch
// of its own, usually within milliseconds. The switch of a leaf in service waits
// for Settle instead: nothing presses there.
const readySettle = 2 * time.Second

// Policy says how long things live and how long is waited for others.
type Policy struct {
	// AuthorityLife is the life of an authority, at least three times LeafLife:
	// a successor is made after two thirds of it, and what is left must not cut
	// the life of a leaf short.
	AuthorityLife time.Duration
	// LeafLife is the life of a leaf, at most MaxLeafLife.
	LeafLife time.Duration
	// RenewBefore renews a certificate when less than this is left, even if two
	// thirds of its life are not yet spent. It counts only for a certificate that
	// lives at least one and a half times as long, see Due; zero switches it off.
	RenewBefore time.Duration
	// Settle is how long an authority must have been in every place before a leaf
	// of it replaces one of another authority: every API server has a view of its
	// own of the places, and only one of them was asked.
	Settle time.Duration
	// Grace is how long an entry must have been seen before it may be taken out
	// because its replica is not among those that live: a list of replicas may be
	// older than the newest replica.
	Grace time.Duration
}

// DefaultPolicy returns the defaults.
func DefaultPolicy() Policy {
	return Policy{
		AuthorityLife: DefaultAuthorityLife,
		LeafLife:      DefaultLeafLife,
		RenewBefore:   DefaultRenewBefore,
		Settle:        DefaultSettle,
		Grace:         DefaultGrace,
	}
}

// Validate says what is wrong with the policy.
func (p Policy) Validate() error {
	var problems []error
	if p.LeafLife <= 0 || p.LeafLife > MaxLeafLife {
		problems = append(problems, fmt.Errorf("the life of a leaf (%s) must be positive and at most %s", p.LeafLife, MaxLeafLife))
	}
	if p.AuthorityLife < 3*p.LeafLife {
		problems = append(problems, fmt.Errorf("the life of an authority (%s) must be at least three times that of a leaf (%s)", p.AuthorityLife, p.LeafLife))
	}
	if p.RenewBefore < 0 || p.RenewBefore > p.AuthorityLife*2/3 {
		problems = append(problems, fmt.Errorf("renew-before (%s) must not be negative, and at most two thirds of the life of an authority (%s)", p.RenewBefore, p.AuthorityLife*2/3))
	}
	if p.Settle < 0 || p.Settle > p.LeafLife/6 {
		problems = append(problems, fmt.Errorf("the time to settle (%s) must not be negative, and at most a sixth of the life of a leaf (%s)", p.Settle, p.LeafLife/6))
	}
	if p.Grace < 0 {
		problems = append(problems, fmt.Errorf("the grace for new replicas (%s) must not be negative", p.Grace))
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("certificate policy: %w", err)
	}
	return nil
}

// Due says how much of a certificate's life is left when it is to be renewed: a
// third, or renewBefore if that is earlier. A renewBefore of more than two thirds
// of the life is not meant for so short a certificate and does not count: with
// it a certificate would be due again as soon as it is made, for ever.
func Due(life, renewBefore time.Duration) time.Duration {
	if renewBefore > life*2/3 {
		return life / 3
	}
	return max(life/3, renewBefore)
}

// Moment is one reading of two clocks.
type Moment struct {
	// Wall is the date. It can jump in both directions.
	Wall time.Time
	// Uptime is the time since a fixed point, the start of the process for
	// example. It never goes back.
	Uptime time.Duration
}

// Span is the life of a certificate in the eyes of who made it.
type Span struct {
	// NotBefore and NotAfter are the dates in the certificate.
	NotBefore, NotAfter time.Time
	// Life is what lay before it when it was made: less than from NotBefore to
	// NotAfter, because certificates are dated back.
	Life time.Duration
	// Made is the uptime at which it was made.
	Made time.Duration
}

// valid says whether the certificate is good at this date.
func (s Span) valid(now Moment) bool {
	return !now.Wall.Before(s.NotBefore) && now.Wall.Before(s.NotAfter)
}

// due says why the certificate is to be renewed now; empty if it is not.
func (s Span) due(now Moment, renewBefore time.Duration) string {
	left := Due(s.Life, renewBefore)
	switch {
	case now.Wall.Before(s.NotBefore):
		return "it is not valid yet: the clock was set back"
	case s.NotAfter.Sub(now.Wall) <= 0:
		return "it has expired"
	case s.NotAfter.Sub(now.Wall) <= left:
		return "it is close to its end"
	case now.Uptime-s.Made >= s.Life-left:
		return "it has been in use for long enough"
	default:
		return ""
	}
}
