package pki

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var epoch = time.Unix(1_800_000_000, 0)

// at is a moment some time after the start, with a clock that is off.
func at(uptime, offset time.Duration) Moment {
	return Moment{Wall: epoch.Add(uptime + offset), Uptime: uptime}
}

func span(made, life time.Duration) Span {
	return Span{NotBefore: epoch.Add(made - backdate), NotAfter: epoch.Add(made + life), Life: life, Made: made}
}

// steady is a replica that has been at work for a while.
func steady() Bundle {
	p := DefaultPolicy()
	b := Bundle{
		Replica: "a",
		Own:     []Authority{{ID: "a1", Span: span(0, p.AuthorityLife)}},
		Leaf:    &Leaf{Authority: "a1", Span: span(0, p.LeafLife)},
		Live:    []string{"a", "b"},
	}
	places := []Place{
		{Name: "validating", State: PlacePresent, Entries: []Entry{{ID: "a1", Replica: "a"}, {ID: "b1", Replica: "b"}, {ID: "x"}}},
		{Name: "conversion", State: PlacePresent, Entries: []Entry{{ID: "a1", Replica: "a"}}},
	}
	return b.See(at(0, 0), places)
}

func day(n float64) time.Duration { return time.Duration(n * 24 * float64(time.Hour)) }

func TestDecide(t *testing.T) {
	successor := func(b Bundle, seen time.Duration) Bundle {
		b.Own = append(b.Own, Authority{ID: "a2", Span: span(day(20), day(30))})
		places := []Place{
			{Name: "validating", State: PlacePresent, Entries: []Entry{{ID: "a1", Replica: "a"}, {ID: "a2", Replica: "a"}}},
			{Name: "conversion", State: PlacePresent, Entries: []Entry{{ID: "a1", Replica: "a"}, {ID: "a2", Replica: "a"}}},
		}
		b.Leaf = &Leaf{Authority: "a1", Span: span(day(19), day(7))}
		return b.See(at(seen, 0), places)
	}
	for name, tc := range map[string]struct {
		now    Moment
		bundle Bundle
		change func(*Policy)
		want   []Step
		// trusted is the plan's word about the leaf in service.
		trusted bool
		wait    time.Duration
	}{
		"nothing exists": {
			now: at(0, 0), bundle: Bundle{Replica: "a"},
			want: []Step{MakeAuthority{Why: "there is no authority yet"}},
		},
		"the first leaf waits for nobody": {
			now:    at(0, 0),
			bundle: Bundle{Replica: "a", Own: []Authority{{ID: "a1", Span: span(0, day(30))}}}.See(at(0, 0), []Place{{Name: "validating"}}),
			want:   []Step{Serve{Authority: "a1", Why: "nothing is served yet"}},
		},
		"nothing to do": {now: at(day(1), 0), bundle: steady(), trusted: true},
		"just seen everywhere": {
			now: at(time.Second, 0), bundle: steady(), wait: time.Second,
		},
		"two thirds of the leaf's life": {
			now: at(day(4.7), 0), bundle: steady(), trusted: true,
			want: []Step{Serve{Authority: "a1", Why: "the certificate is renewed: it is close to its end"}},
		},
		"the clock was set back before two thirds of the life": {
			now: at(day(4.7), -day(3)), bundle: steady(), trusted: true,
			want: []Step{Serve{Authority: "a1", Why: "the certificate is renewed: it has been in use for long enough"}},
		},
		"the clock runs ahead of the leaf's end": {
			now: at(day(1), day(10)), bundle: steady(),
			want: []Step{Serve{Authority: "a1", Why: "the certificate is renewed: it has expired"}},
		},
		"the clock runs ahead of the authority's end": {
			now: at(day(1), day(40)), bundle: steady(),
			want: []Step{MakeAuthority{Why: "the newest authority needs a successor: it has expired"}},
		},
		"the clock was set back before everything": {
			now: at(day(1), -day(3)), bundle: steady(),
			want: []Step{MakeAuthority{Why: "the newest authority needs a successor: it is not valid yet: the clock was set back"}},
		},
		"two thirds of the authority's life": {
			now: at(day(20.1), 0), bundle: steady(),
			want: []Step{MakeAuthority{Why: "the newest authority needs a successor: it is close to its end"}},
		},
		"renewBefore comes first": {
			now: at(day(16), 0), bundle: steady(),
			change: func(p *Policy) { p.RenewBefore = day(15) },
			want:   []Step{MakeAuthority{Why: "the newest authority needs a successor: it is close to its end"}},
		},
		"a successor is not served before API servers have it": {
			now: at(day(20)+29*time.Second, 0), bundle: successor(steady(), day(20)), trusted: true, wait: time.Second,
		},
		"a successor that has settled": {
			now: at(day(20)+30*time.Second, 0), bundle: successor(steady(), day(20)), trusted: true,
			want: []Step{Serve{Authority: "a2", Why: "the new authority is in every bundle"}},
		},
		"a successor that is missing in one place": {
			now: at(day(21), 0), trusted: true,
			bundle: func() Bundle {
				b := successor(steady(), day(20))
				places := b.Places
				places[1].Entries = places[1].Entries[:1]
				return b.See(at(day(20), 0), places)
			}(),
			want: []Step{Publish{Place: "conversion", Add: []string{"a2"}, Why: "this replica's authority is missing"}},
		},
		"a place that could not be read holds the switch": {
			now: at(day(21), 0),
			bundle: func() Bundle {
				b := successor(steady(), day(20))
				return b.See(at(day(20), 0), append(b.Places, Place{Name: "mutating"}))
			}(),
		},
		"a place that does not exist holds nothing": {
			now: at(day(20)+30*time.Second, 0), trusted: true,
			bundle: func() Bundle {
				b := successor(steady(), day(20))
				return b.See(at(day(20), 0), append(b.Places, Place{Name: "mutating", State: PlaceAbsent}))
			}(),
			want: []Step{Serve{Authority: "a2", Why: "the new authority is in every bundle"}},
		},
		"after the switch": {
			now: at(day(21), 0), trusted: true,
			bundle: func() Bundle {
				b := successor(steady(), day(20))
				b.Leaf = &Leaf{Authority: "a2", Span: span(day(20), day(7))}
				return b
			}(),
			want: []Step{
				Publish{Place: "validating", Remove: []string{"a1"}, Why: "an earlier authority of this replica is not used any more"},
				Publish{Place: "conversion", Remove: []string{"a1"}, Why: "an earlier authority of this replica is not used any more"},
				Forget{Authority: "a1", Why: "a newer authority has taken its place"},
			},
		},
		"a leaf that its authority cuts short is not renewed again and again": {
			now: at(day(29.9), 0),
			bundle: func() Bundle {
				b := successor(steady(), day(20))
				b.Own[1].Made, b.Own[1].NotAfter = day(29), epoch.Add(day(59))
				b.Leaf = &Leaf{Authority: "a1", Span: Span{NotBefore: epoch, NotAfter: epoch.Add(day(30)), Life: day(1), Made: day(29)}}
				return b.See(at(day(29), 0), []Place{{Name: "validating", State: PlacePresent, Entries: []Entry{{ID: "a1", Replica: "a"}}}})
			}(),
			trusted: true,
			want:    []Step{Publish{Place: "validating", Add: []string{"a2"}, Why: "this replica's authority is missing"}},
		},
		"a replica is gone": {
			now: at(day(1), 0), trusted: true,
			bundle: func() Bundle { b := steady(); b.Live = []string{"a"}; return b }(),
			want:   []Step{Publish{Place: "validating", Remove: []string{"b1"}, Why: "a replica is gone"}},
		},
		"a replica that is too new to be listed": {
			now: at(4*time.Minute, 0), trusted: true,
			bundle: func() Bundle { b := steady(); b.Live = []string{"a"}; return b }(),
		},
		"a list without this replica is no list": {
			now: at(day(1), 0), trusted: true,
			bundle: func() Bundle { b := steady(); b.Live = []string{"c"}; return b }(),
		},
		"an earlier life of this replica": {
			now: at(day(1), 0), trusted: true,
			bundle: func() Bundle {
				b := steady()
				b.Places[1].Entries = append(b.Places[1].Entries, Entry{ID: "a0", Replica: "a"})
				return b
			}(),
			want: []Step{Publish{Place: "conversion", Remove: []string{"a0"}, Why: "an earlier authority of this replica is not used any more"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := DefaultPolicy()
			if tc.change != nil {
				tc.change(&p)
			}
			plan := Decide(tc.now, tc.bundle, p)
			if diff := cmp.Diff(tc.want, plan.Steps); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if plan.Trusted != tc.trusted || plan.Trusted == (plan.Why != "") {
				t.Errorf("trusted %t (%q), want %t", plan.Trusted, plan.Why, tc.trusted)
			}
			if plan.Wait != tc.wait {
				t.Errorf("waits %s, want %s", plan.Wait, tc.wait)
			}
		})
	}
}

// TestDecideChangesNothing: a decision is a value, and so is what it is made from.
func TestDecideChangesNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		b := steady()
		b.Own = append(b.Own, Authority{ID: "a2", Span: span(day(random.Float64()*20), day(30))})
		b.Places[0].Entries = append(b.Places[0].Entries, Entry{ID: "a0", Replica: "a"}, Entry{ID: "c0", Replica: "c"})
		now := at(day(random.Float64()*40), day(random.Float64()*20-10))
		b = b.See(now, b.Places)
		before := fmt.Sprintf("%+v %+v", b, *b.Leaf)
		first := Decide(now, b, DefaultPolicy())
		if diff := cmp.Diff(first, Decide(now, b, DefaultPolicy())); diff != "" {
			t.Fatalf("decided differently a second time:\n%s", diff)
		}
		b.See(now, []Place{{Name: "other", State: PlacePresent, Entries: []Entry{{ID: "z"}}}})
		if after := fmt.Sprintf("%+v %+v", b, *b.Leaf); after != before {
			t.Fatalf("changed what it was given:\n%s\n%s", before, after)
		}
	}
}

// TestRenewalsAreFew: whatever renewBefore says, a certificate is renewed at most
// three times in the length of its life, and before it ends.
func TestRenewalsAreFew(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		p := DefaultPolicy()
		p.LeafLife = time.Duration(1 + random.Int64N(int64(MaxLeafLife)))
		p.AuthorityLife = p.LeafLife * time.Duration(3+random.IntN(10))
		p.RenewBefore = time.Duration(random.Int64N(int64(p.AuthorityLife)*2/3 + 1))
		p.Settle = 0
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		b := Bundle{Replica: "a"}
		leaves, authorities, length := 0, 0, 20*p.AuthorityLife
		for now := time.Duration(0); now < length; now += p.LeafLife / 40 {
			for range 5 {
				b = b.See(at(now, 0), nil)
				for _, step := range Decide(at(now, 0), b, p).Steps {
					switch step := step.(type) {
					case MakeAuthority:
						authorities++
						b.Own = append(b.Own, Authority{ID: fmt.Sprint(authorities), Span: span(now, p.AuthorityLife)})
					case Serve:
						leaves++
						signer, _ := b.own(step.Authority)
						end := leafEnd(at(now, 0), signer, p.LeafLife)
						b.Leaf = &Leaf{Authority: step.Authority, Span: Span{NotBefore: signer.NotBefore, NotAfter: end, Life: end.Sub(epoch.Add(now)), Made: now}}
					case Forget:
						b.Own = b.Own[1:]
					}
				}
			}
			if !b.Leaf.valid(at(now, 0)) {
				t.Fatalf("%+v: the leaf has ended", p)
			}
		}
		// Each authority's first leaf is one more.
		if most := int(3*length/p.LeafLife) + authorities + 1; leaves > most {
			t.Errorf("%+v: %d leaves, want at most %d", p, leaves, most)
		}
		if most := int(3*length/p.AuthorityLife) + 1; authorities > most {
			t.Errorf("%+v: %d authorities, want at most %d", p, authorities, most)
		}
	}
}

func TestDue(t *testing.T) {
	for _, tc := range []struct{ life, renewBefore, want time.Duration }{
		{day(90), day(7), day(30)},
		{day(90), day(40), day(40)},
		{day(90), day(60), day(60)},
		{day(90), day(61), day(30)},
		{day(7), day(7), day(7) / 3},
		{day(7), 0, day(7) / 3},
		{time.Hour, day(7), time.Hour / 3},
	} {
		if got := Due(tc.life, tc.renewBefore); got != tc.want {
			t.Errorf("of %s with %s: %s, want %s", tc.life, tc.renewBefore, got, tc.want)
		}
	}
}

func TestPolicyIsValidated(t *testing.T) {
	if err := DefaultPolicy().Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Policy){
		"life of a leaf":       func(p *Policy) { p.LeafLife = MaxLeafLife + 1 },
		"life of an authority": func(p *Policy) { p.AuthorityLife = 20 * 24 * time.Hour },
		"renew-before (481h":   func(p *Policy) { p.RenewBefore = 481 * time.Hour },
		"renew-before (-1h":    func(p *Policy) { p.RenewBefore = -time.Hour },
		"time to settle":       func(p *Policy) { p.Settle = 2 * 24 * time.Hour },
		"grace":                func(p *Policy) { p.Grace = -1 },
	} {
		p := DefaultPolicy()
		change(&p)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want a word about %q", err, want)
		}
	}
}
