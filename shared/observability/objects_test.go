package observability

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/types"
)

func TestObjectsAreForgottenWhole(t *testing.T) {
	epoch := &Family{Name: "test_epoch", Help: "The epoch."}
	roles := &Family{Name: "test_roles", Help: "By role.", Labels: []string{"role"}}
	failovers := &Family{Name: "test_failovers_total", Help: "By reason.", Labels: []string{"reason"}, Counted: true, Series: [][]string{{"silent"}, {"dead"}}}
	refused := &Family{Name: "test_refused_total", Help: "Refused.", Counted: true}
	objects := NewObjects(epoch, roles, failovers, refused)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(objects)
	db := types.NamespacedName{Namespace: "shop", Name: "db"}
	other := types.NamespacedName{Namespace: "shop", Name: "other"}

	objects.Set(db, []Sample{{epoch, nil, 1}, {roles, []string{"Primary"}, 1}, {roles, []string{"Replica"}, 2}})
	objects.Set(other, []Sample{{epoch, nil, 7}})
	objects.Add(db, failovers, 1, "silent")
	objects.Add(db, failovers, 1, "silent")
	// What is not said again is not so any more; what was counted stays counted.
	objects.Set(db, []Sample{{epoch, nil, 2}, {roles, []string{"Primary"}, 1}})
	head := `
# HELP test_epoch The epoch.
# TYPE test_epoch gauge
# HELP test_failovers_total By reason.
# TYPE test_failovers_total counter
# HELP test_refused_total Refused.
# TYPE test_refused_total counter
# HELP test_roles By role.
# TYPE test_roles gauge
`
	kept := `
test_epoch{name="other",namespace="shop"} 7
test_failovers_total{name="other",namespace="shop",reason="dead"} 0
test_failovers_total{name="other",namespace="shop",reason="silent"} 0
test_refused_total{name="other",namespace="shop"} 0
`
	expect := func(what, want string) {
		t.Helper()
		var used strings.Builder
		// testutil takes headers of metrics that are there only.
		for text := range strings.Lines(head) {
			if words := strings.Fields(text); len(words) > 2 && strings.Contains(want, "\n"+words[2]+"{") {
				used.WriteString(text)
			}
		}
		if err := testutil.GatherAndCompare(registry, strings.NewReader(used.String()+want)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	expect("both", kept+`test_epoch{name="db",namespace="shop"} 2
test_failovers_total{name="db",namespace="shop",reason="dead"} 0
test_failovers_total{name="db",namespace="shop",reason="silent"} 2
test_refused_total{name="db",namespace="shop"} 0
test_roles{name="db",namespace="shop",role="Primary"} 1
`)
	objects.Forget(db)
	expect("after one is gone", kept)
	objects.Forget(other)
	if n, err := testutil.GatherAndCount(registry); err != nil || n != 0 {
		t.Errorf("%d series are left (%v)", n, err)
	}
}

func TestMistakesAreErrorsAndNotPanics(t *testing.T) {
	known := &Family{Name: "test_known", Help: "Known."}
	for name, sample := range map[string]Sample{
		"a family that was not declared": {Family: &Family{Name: "test_unknown", Help: "Unknown."}},
		"too many labels":                {Family: known, Labels: []string{"x"}},
	} {
		t.Run(name, func(t *testing.T) {
			objects := NewObjects(known)
			registry := prometheus.NewRegistry()
			registry.MustRegister(objects)
			objects.Set(types.NamespacedName{Name: "db"}, []Sample{sample})
			if _, err := registry.Gather(); err == nil {
				t.Error("nothing was said")
			}
		})
	}
}

// TestScrapesAndRounds run side by side; the race detector and the pedantic registry would say so if they must not.
func TestScrapesAndRounds(t *testing.T) {
	epoch := &Family{Name: "test_epoch", Help: "The epoch."}
	count := &Family{Name: "test_total", Help: "Counted.", Counted: true}
	objects := NewObjects(epoch, count)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(objects)
	var running sync.WaitGroup
	for n := range 4 {
		running.Go(func() {
			name := types.NamespacedName{Namespace: "shop", Name: fmt.Sprint("db-", n)}
			for i := range 200 {
				objects.Set(name, []Sample{{epoch, nil, float64(i)}})
				objects.Add(name, count, 1)
				if i%50 == 49 {
					objects.Forget(name)
				}
			}
		})
	}
	for range 50 {
		if _, err := registry.Gather(); err != nil {
			t.Error(err)
		}
	}
	running.Wait()
}

func TestCertificates(t *testing.T) {
	var c Certificates
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(&c)
	at := time.Unix(1_800_000_000, 0)
	c.Add("link-ca", func() (time.Time, bool) { return at, true })
	c.Add("webhook", func() (time.Time, bool) { return time.Time{}, false })
	want := func(value string) {
		t.Helper()
		err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP kapok_certificate_expiry_timestamp_seconds When a certificate of this process ends to be valid, in seconds since 1970.
# TYPE kapok_certificate_expiry_timestamp_seconds gauge
kapok_certificate_expiry_timestamp_seconds{certificate="link-ca"} `+value+"\n"))
		if err != nil {
			t.Error(err)
		}
	}
	want("1.8e+09")
	at = at.Add(time.Hour)
	want("1.8000036e+09")
}
