package lease

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestI5PrimaryFencesItselfWhenNothingRenewsItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var fenced []time.Duration
		g := NewGuard(func() { fenced = append(fenced, time.Since(start)) })
		g.Arm(5, 3*time.Second, start)
		time.Sleep(2 * time.Second)
		// The answer came now, but the heartbeat was sent a second ago.
		g.Renew(5, time.Now().Add(-time.Second))
		time.Sleep(1500 * time.Millisecond)
		if len(fenced) != 0 {
			t.Fatalf("fenced at %v although renewed until 4s", fenced)
		}
		g.Renew(4, time.Now()) // Another epoch's grant is worth nothing.
		time.Sleep(10 * time.Second)
		if len(fenced) != 1 || fenced[0] != 4*time.Second {
			t.Fatalf("fenced at %v, want once at 4s", fenced)
		}
		g.Renew(5, time.Now())
		if _, _, armed := g.Remaining(); armed {
			t.Error("a lease that ran out came back to life")
		}
	})
}

func TestAnOldProofNeverShortensALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fenced := false
		g := NewGuard(func() { fenced = true })
		g.Arm(1, 2*time.Second, time.Now())
		g.Renew(1, time.Now().Add(-time.Hour))
		time.Sleep(1900 * time.Millisecond)
		if fenced {
			t.Error("an old proof took time away")
		}
		g.Disarm()
		time.Sleep(time.Minute)
		if fenced {
			t.Error("fenced after being disarmed")
		}
	})
}

func TestArmAgainKeepsTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var fenced time.Duration
		g := NewGuard(func() { fenced = time.Since(start) })
		g.Arm(1, 2*time.Second, time.Now())
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if fenced == 0 {
				g.Arm(1, 2*time.Second, time.Now())
			}
		}
		if fenced != 2*time.Second {
			t.Errorf("fenced at %v, want 2s: hearing the same directive is no proof of a lease", fenced)
		}
	})
}
