package main

import (
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// figures is what an operator has counted since it began or was last reset.
type figures struct {
	Leads      bool
	Reconciles int
	// Objects is how many different ones were reconciled.
	Objects int
	// Finished is how many objects with a change since then were reconciled to the end.
	Finished int
	// Gets are GETs of one object, Lists those of many, Writes whatever changes something. The
	// election's requests are in none of them.
	Gets, Lists, Watches, Writes int
	// HeapInUse and Resident are in bytes: the Go heap, and what the kernel keeps in memory for the process.
	HeapInUse, Resident uint64
	// Queue is from the cache's event to the beginning of the reconcile, EndToEnd from before the request that made the
	// change; in milliseconds.
	Queue, EndToEnd []float64
}

// meter counts what an operator does. It is safe for concurrent use.
type meter struct {
	mu      sync.Mutex
	counted figures
	since   time.Time
	objects map[types.NamespacedName]int64
	ended   map[types.NamespacedName]struct{}
	pending map[types.NamespacedName]time.Time
}

func newMeter() *meter {
	m := &meter{}
	m.reset(time.Now())
	return m
}

func (m *meter) reset(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counted, m.since = figures{}, now
	m.ended = map[types.NamespacedName]struct{}{}
	m.objects, m.pending = map[types.NamespacedName]int64{}, map[types.NamespacedName]time.Time{}
}

// queued notes that the cache has passed an event on.
func (m *meter) queued(key types.NamespacedName, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, waiting := m.pending[key]; !waiting {
		m.pending[key] = now
	}
}

// began notes the beginning of a reconcile that sees a change of the given time, and says whether it is a new one.
func (m *meter) began(key types.NamespacedName, sent int64, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counted.Reconciles++
	at, waited := m.pending[key]
	delete(m.pending, key)
	before, known := m.objects[key]
	m.objects[key] = sent
	if sent <= m.since.UnixNano() || known && before == sent {
		return false
	}
	m.counted.EndToEnd = append(m.counted.EndToEnd, float64(now.UnixNano()-sent)/1e6)
	if waited {
		m.counted.Queue = append(m.counted.Queue, float64(now.Sub(at))/1e6)
	}
	return true
}

// finished notes the end of a reconcile that has done all for a change of the given time.
func (m *meter) finished(key types.NamespacedName, sent int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if sent > m.since.UnixNano() {
		m.ended[key] = struct{}{}
	}
}

func (m *meter) figures() figures {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.counted
	out.Objects, out.Finished = len(m.objects), len(m.ended)
	out.HeapInUse, out.Resident = stats.HeapInuse, resident()
	return out
}

// resident is the memory of this process in bytes, 0 if the kernel does not say.
func resident() uint64 {
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	parts := strings.Fields(string(raw))
	if len(parts) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}

type counting struct {
	below http.RoundTripper
	meter *meter
}

func (m *meter) transport(below http.RoundTripper) http.RoundTripper {
	return &counting{below: below, meter: m}
}

// RoundTrip implements http.RoundTripper.
func (c *counting) RoundTrip(req *http.Request) (*http.Response, error) {
	c.meter.mu.Lock()
	switch kindOf(req) {
	case getRequest:
		c.meter.counted.Gets++
	case listRequest:
		c.meter.counted.Lists++
	case watchRequest:
		c.meter.counted.Watches++
	case writeRequest:
		c.meter.counted.Writes++
	case otherRequest:
	}
	c.meter.mu.Unlock()
	return c.below.RoundTrip(req)
}

type requestKind int

const (
	otherRequest requestKind = iota
	getRequest
	listRequest
	watchRequest
	writeRequest
)

// kindOf tells requests apart by their path: /api/v1 or /apis/<group>/<version>, then optionally a namespace, then the
// resource and the object. The election and discovery are other requests.
func kindOf(req *http.Request) requestKind {
	parts := strings.Split(strings.Trim(req.URL.Path, "/"), "/")
	head := 2
	if parts[0] == "apis" {
		head = 3
	}
	if len(parts) <= head || parts[0] != "api" && parts[0] != "apis" {
		return otherRequest
	}
	rest := parts[head:]
	if rest[0] == "namespaces" && len(rest) > 2 {
		rest = rest[2:]
	}
	switch {
	case rest[0] == "leases":
		return otherRequest
	case req.URL.Query().Has("watch"):
		return watchRequest
	case req.Method != http.MethodGet:
		return writeRequest
	case len(rest) > 1:
		return getRequest
	default:
		return listRequest
	}
}
