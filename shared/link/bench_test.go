package link

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkThousandPeers connects 1,000 agents over TLS on loopback and
// measures what one costs and how long a snapshot takes to reach OnChange while
// all of them send heartbeats. Agents and operator share the process, so the
// memory is that of both ends.
func BenchmarkThousandPeers(b *testing.B) {
	const peers = 1000
	i := newIssuer(b)
	a := newAuthority(b, nil, "op-0")
	var mu sync.Mutex
	arrived := map[PeerKey]chan time.Time{}
	notify := func(key PeerKey) {
		now := time.Now()
		mu.Lock()
		defer mu.Unlock()
		if ch := arrived[key]; ch != nil {
			select {
			case ch <- now:
			default:
			}
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r := startReplica(b, "127.0.0.1:0", HubOptions{Verifier: i.verifier(b, nil), OnChange: notify, HeartbeatTimeout: time.Minute}, a)
	dir := b.TempDir()
	ca := filepath.Join(dir, "ca.crt")
	writeFile(b, ca, caPEM(b, a))
	payload := func(n int) json.RawMessage {
		return fmt.Appendf(nil, `{"n":%d,"filler":%q}`, n, strings.Repeat("x", 500))
	}
	start := time.Now()
	var stations []*station
	for n := range peers {
		token := filepath.Join(dir, fmt.Sprintf("token-%d", n))
		writeFile(b, token, []byte(i.sign(b, i.claims(fmt.Sprintf("pod-%d", n), "u"))))
		s := startClient(b, "", nil, ClientOptions{
			Addresses: []string{r.address}, CAFile: ca, TokenFile: token,
			HeartbeatInterval: DefaultHeartbeatInterval, EchoTimeout: time.Minute, ConnectTimeout: time.Minute,
		})
		if err := s.Publish(payload(0)); err != nil {
			b.Fatal(err)
		}
		stations = append(stations, s)
	}
	deadline := time.Now().Add(2 * time.Minute)
	for {
		ready := 0
		for _, p := range r.hub.List("shop") {
			if p.Connected && p.Snapshot != nil {
				ready++
			}
		}
		if ready == peers {
			break
		}
		if time.Now().After(deadline) {
			b.Fatalf("%d of %d peers after 2 minutes", ready, peers)
		}
		time.Sleep(10 * time.Millisecond)
	}
	joined := time.Since(start)
	runtime.GC()
	runtime.ReadMemStats(&after)

	var latencies []time.Duration
	n := 0
	for b.Loop() {
		n++
		pod := n % peers
		key := PeerKey{Namespace: "shop", Pod: fmt.Sprintf("pod-%d", pod), UID: "u"}
		ch := make(chan time.Time, 1)
		mu.Lock()
		arrived[key] = ch
		mu.Unlock()
		sent := time.Now()
		if err := stations[pod].Publish(payload(n)); err != nil {
			b.Fatal(err)
		}
		latencies = append(latencies, (<-ch).Sub(sent))
		mu.Lock()
		delete(arrived, key)
		mu.Unlock()
	}
	slices.Sort(latencies)
	b.ReportMetric(float64(latencies[len(latencies)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(latencies[len(latencies)*99/100].Microseconds()), "p99-us")
	b.ReportMetric(joined.Seconds(), "join-s")
	used := float64(after.HeapInuse+after.StackInuse) - float64(before.HeapInuse+before.StackInuse)
	b.ReportMetric(used/peers/1024, "KiB/peer-both-ends")
	var stopping sync.WaitGroup
	for _, s := range stations {
		stopping.Go(s.stop)
	}
	stopping.Wait()
}
