package controller_test

import (
	"fmt"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/shared/testkit"
)

// stale is a cache that shows the past.
type stale struct {
	// kind is what it shows so: one kind, or everything.
	kind string
	// at is the round from which on, long how many rounds it lasts until the cache jumps to the present.
	at, long int
	// travel: the operator starts again then, and sees what was there so many rounds earlier.
	travel int
}

func (s stale) String() string {
	if s.travel > 0 {
		return fmt.Sprintf("%s travel back %d from %d for %d", s.kind, s.travel, s.at, s.long)
	}
	return fmt.Sprintf("%s frozen at %d for %d", s.kind, s.at, s.long)
}

// shown are the kinds that a cache can show as they were.
func shown() map[string][]client.ObjectList {
	return map[string][]client.ObjectList{
		"clusters": {&v1alpha1.MySQLClusterList{}}, "pods": {&corev1.PodList{}}, "claims": {&corev1.PersistentVolumeClaimList{}},
		"endpoints": {&discoveryv1.EndpointSliceList{}}, "sets": {&appsv1.StatefulSetList{}}, "everything": append(moving(), resting()...),
	}
}

// beyond is how many rounds after the end of a path an operator may start again and see what was before.
const beyond = 2

// stales are all stale views of a path of n rounds.
func stales(n int) []stale {
	var out []stale
	for _, kind := range []string{"clusters", "pods", "claims", "endpoints", "sets", "everything"} {
		for at := 1; at <= n+beyond; at++ {
			for _, long := range []int{4, 25} {
				if at <= n {
					out = append(out, stale{kind: kind, at: at, long: long})
				}
				out = append(out, stale{kind: kind, at: at, long: long, travel: min(at, 3)})
				if at > 3 {
					out = append(out, stale{kind: kind, at: at, long: long, travel: at})
				}
			}
		}
	}
	return out
}

// TestStaleViews lets the operator's cache show the past, one kind of object or all of them, from every round of every path
// on, and lets an operator start again that sees what was before its predecessor's end. When the cache has caught up, the
// cluster must be what it is without all that; and meanwhile nothing may be done that cannot be undone, unless it is
// done anyway.
func TestStaleViews(t *testing.T) {
	sweep(t, func(want undisturbed) []stale { return stales(want.rounds) },
		func(t *testing.T, p path, s stale, want undisturbed) {
			w := p.prepare(t)
			w.restart(api)
			if _, err := w.cache.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			history := []testkit.Moment{w.cache.Moment()}
			p.event(w)
			kinds := shown()[s.kind]
			frozen := follow(kinds)
			for n := 1; n < rounds; n++ {
				switch {
				case n == s.at && s.travel > 0:
					then := history[len(history)-s.travel]
					w.restart(api)
					if _, err := w.cache.Sync(t.Context()); err != nil {
						t.Fatal(err)
					}
					if err := w.cache.Show(then, kinds...); err != nil {
						t.Fatal(err)
					}
					w.frozen = frozen
				case n == s.at:
					w.frozen = frozen
				case n == s.at+s.long:
					w.frozen = nil
				}
				before := w.writes.Writes()
				err := w.round()
				if err != nil && n < s.at {
					t.Fatalf("a round failed before the view was stale: %v", err)
				}
				if n < s.at {
					history = append(history, w.cache.Moment())
				}
				if err == nil && n > s.at+s.long && w.writes.Writes() == before && p.done(w) {
					want.compare(w)
					return
				}
			}
			t.Fatalf("not there after %d rounds: %s", rounds, w.snapshot())
		})
}

// follow lets a cache follow all kinds but some.
func follow(frozen []client.ObjectList) func([]client.ObjectList) []client.ObjectList {
	return func(kinds []client.ObjectList) []client.ObjectList {
		return slices.DeleteFunc(kinds, func(list client.ObjectList) bool {
			return slices.ContainsFunc(frozen, func(f client.ObjectList) bool { return fmt.Sprintf("%T", f) == fmt.Sprintf("%T", list) })
		})
	}
}
