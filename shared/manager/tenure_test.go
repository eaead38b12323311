package manager

import (
	"context"
	"errors"
	"testing"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// paper is a Lease on paper.
type paper struct {
	resourcelock.Interface
	record resourcelock.LeaderElectionRecord
	fails  bool
}

var errPaper = errors.New("the API server does not answer")

func (p *paper) Identity() string { return "me" }

func (p *paper) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	if p.fails {
		return nil, nil, errPaper
	}
	record := p.record
	return &record, nil, nil
}

func (p *paper) Update(_ context.Context, record resourcelock.LeaderElectionRecord) error {
	if p.fails {
		return errPaper
	}
	p.record = record
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
