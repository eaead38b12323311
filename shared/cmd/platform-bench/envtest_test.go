package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"
)

// TestMain is also the operator, when the benchmark starts this program again. The API server's binaries come from
// KAPOK_KUBE_BIN.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == operatorCommand {
		if err := run(context.Background(), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestSmall asserts what does not depend on how fast a machine is: nothing is read live, nothing is written without a
// reason, a killed leader is followed, and an API server that comes back finds the operator at work.
func TestSmall(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var r *report
	o := options{objects: 120, rounds: 1, perSecond: 50, kills: 1, idle: 2 * time.Second, load: 2 * time.Second,
		shardObjects: 60, shardWait: 50 * time.Millisecond}
	if err := measure(ctx, o, func(got *report) error { r = got; return nil }); err != nil {
		t.Fatal(err)
	}
	if !r.Complete {
		t.Error("the run did not end")
	}
	// One ConfigMap, one status and one event of each. A reconcile whose cache has not seen the last write yet repeats it, which a
	// loaded machine does to a few. Each object has two reconciles and more, so that an operator which always writes does 6 each.
	if s := r.Settling; s.Gets != 0 || s.Writes < 2*o.objects || s.Writes > 4*o.objects {
		t.Errorf("settling %d objects: %+v", o.objects, *s)
	}
	if s := r.Steady; s.IdleWrites != 0 || s.IdleGets != 0 || s.TouchedReconciles < o.objects || s.TouchedWrites != 0 || s.TouchedGets != 0 {
		t.Errorf("steady state: %+v", *s)
	}
	if q := r.Queue; len(q) != 1 || q[0].EndToEndMs.Count != q[0].Events || q[0].QueueMs.Count != q[0].Events {
		t.Errorf("of the events, not each was met by a reconcile of its own: %+v", q)
	}
	// With a wait three processes have three times as many workers; how much of that is seen depends on the machine.
	if s := r.Shards; len(s) != 4 || s[0].Shards != 1 || s[0].Most != s[0].Changed || s[1].Shards != 3 || s[1].Most >= s[1].Changed {
		t.Errorf("shards: %+v", s)
	}
	if len(r.Kills) != 1 || len(r.Restart) != 1 {
		t.Errorf("kills %v, restarts %+v", r.Kills, r.Restart)
	}
}

func TestKindOf(t *testing.T) {
	for _, c := range []struct {
		method, url string
		want        requestKind
	}{
		{http.MethodGet, "/api/v1/namespaces/a/configmaps/x", getRequest},
		{http.MethodGet, "/api/v1/namespaces/a", getRequest},
		{http.MethodGet, "/api/v1/namespaces/a/configmaps", listRequest},
		{http.MethodGet, "/apis/apps/v1/deployments", listRequest},
		{http.MethodGet, "/apis/apps/v1/deployments?watch=true", watchRequest},
		{http.MethodPatch, "/apis/bench.kapok.dev/v1alpha1/namespaces/a/widgets/x/status", writeRequest},
		{http.MethodPost, "/apis/events.k8s.io/v1/namespaces/a/events", writeRequest},
		{http.MethodPut, "/apis/coordination.k8s.io/v1/namespaces/a/leases/x", otherRequest},
		{http.MethodGet, "/apis/apps/v1", otherRequest},
		{http.MethodGet, "/version", otherRequest},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "https://server"+c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := kindOf(req); got != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.url, got, c.want)
		}
	}
}

func TestDistribution(t *testing.T) {
	samples := make([]float64, 100)
	for i := range samples {
		samples[i] = float64(100 - i)
	}
	if d := distributionOf(samples); d != (distribution{Count: 100, P50: 50, P95: 95, P99: 99, Max: 100}) {
		t.Errorf("got %+v", d)
	}
	if d := distributionOf([]float64{3}); d.P50 != 3 || d.Max != 3 {
		t.Errorf("got %+v", d)
	}
}
