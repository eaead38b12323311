package manager

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// paper is a Lease on paper.
type paper struct {
	resourcelock.Interface
	record resourcelock.LeaderElectionRecord
	fails  bool
	writes int
}

var errPaper = errors.New("the API server does not answer")

func (p *paper) Identity() string { return "me" }

func (p *paper) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	if p.fails {
		return nil, nil, errPaper
	}
	record := p.record
	raw, err := json.Marshal(record)
	return &record, raw, err
}

func (p *paper) Update(_ context.Context, record resourcelock.LeaderElectionRecord) error {
	if p.fails {
		return errPaper
	}
	p.record = record
	p.writes++
	return nil
}

func (p *paper) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return p.Update(ctx, record)
}

func TestTenure(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	lease := &paper{}
	tn := &tenure{Interface: lease, duration: 4 * time.Second, now: func() time.Time { return at }}
	term := &Term{tenure: tn}
	get := func() {
		_, _, err := tn.Get(t.Context())
		if (err != nil) != lease.fails {
			t.Fatal(err)
		}
	}
	update := func(holder string) {
		err := tn.Update(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: holder})
		if (err != nil) != lease.fails {
			t.Fatal(err)
		}
	}
	expect := func(what string, sure time.Duration, afterExpiry bool) {
		t.Helper()
		if term.Sure() != sure || term.AfterExpiry() != afterExpiry {
			t.Errorf("%s: sure for %s, after an expiry %t; want %s, %t", what, term.Sure(), term.AfterExpiry(), sure, afterExpiry)
		}
	}
	expect("before anything", 0, false)
	if err := tn.Create(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: "me"}); err != nil {
		t.Fatal(err)
	}
	expect("the first leadership of all", 4*time.Second, false)
	at = at.Add(time.Second)
	expect("a second later", 3*time.Second, false)
	lease.fails = true
	update("me")
	at = at.Add(time.Second)
	expect("a renewal that failed renews nothing", 2*time.Second, false)
	at = at.Add(10 * time.Second)
	expect("long after the end", 0, false)
	lease.fails = false
	update("me")
	expect("renewed", 4*time.Second, false)
	update("")
	expect("released", 0, false)

	lease.record.HolderIdentity = ""
	get()
	update("me")
	expect("taken over from one that released it", 4*time.Second, false)
	update("")

	lease.record.HolderIdentity = "another"
	get()
	expect("while another leads", 0, false)
	update("me")
	expect("taken over from one that let it run out", 4*time.Second, true)
	get()
	update("me")
	expect("and renewed", 4*time.Second, true)
}

func TestWithoutElectionNobodyElseLeads(t *testing.T) {
	term := &Term{}
	if term.Sure() < 100*365*24*time.Hour || term.AfterExpiry() {
		t.Errorf("sure for %s, after an expiry %t", term.Sure(), term.AfterExpiry())
	}
}

// TestEveryRenewalIsSeen: two renewals within one second are two for those who wait, though the bytes of the record, which hold
// whole seconds, are the same.
func TestEveryRenewalIsSeen(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	lease := &paper{}
	tn := &tenure{Interface: lease, now: func() time.Time { return at }}
	seen := map[string]bool{}
	for _, after := range []time.Duration{0, 300 * time.Millisecond, 600 * time.Millisecond} {
		lease.record = resourcelock.LeaderElectionRecord{HolderIdentity: "another", RenewTime: metav1.NewTime(at.Add(after))}
		for range 2 {
			_, raw, err := tn.Get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			seen[string(raw)] = true
		}
	}
	if len(seen) != 3 {
		t.Errorf("three renewals within a second look like %d", len(seen))
	}
}

// TestRenewalsAreNotWrittenAtEveryLook: a leader looks as often as a standby, and writes as seldom as it is told to. What it is
// sure of counts from what was written.
func TestRenewalsAreNotWrittenAtEveryLook(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	lease := &paper{}
	tn := &tenure{Interface: lease, duration: 4 * time.Second, every: 400 * time.Millisecond, now: func() time.Time { return at }}
	renew := func() {
		t.Helper()
		if err := tn.Update(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: "me"}); err != nil && !lease.fails {
			t.Fatal(err)
		}
	}
	renew()
	for range 3 {
		at = at.Add(130 * time.Millisecond)
		renew()
	}
	if lease.writes != 1 || tn.sure() != 3610*time.Millisecond {
		t.Errorf("%d writes, sure for %s: want one, and what is left of it", lease.writes, tn.sure())
	}
	at = at.Add(130 * time.Millisecond)
	lease.fails = true
	renew()
	if tn.sure() != 3480*time.Millisecond {
		t.Errorf("sure for %s after a renewal that failed", tn.sure())
	}
	lease.fails = false
	renew()
	if lease.writes != 2 || tn.sure() != 4*time.Second {
		t.Errorf("%d writes, sure for %s: want two and a whole duration", lease.writes, tn.sure())
	}
	if err := tn.Update(t.Context(), resourcelock.LeaderElectionRecord{}); err != nil || lease.writes != 3 || tn.sure() != 0 {
		t.Errorf("a release waits for nothing: %v, %d writes, sure for %s", err, lease.writes, tn.sure())
	}
}
