package observability

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Certificates exposes when the certificates of this process expire. Whoever holds one adds it; it is asked at every
// scrape, so that a rotation needs no word. It is safe for concurrent use.
type Certificates struct {
	mu      sync.Mutex
	expires map[string]func() (time.Time, bool)
}

var _ prometheus.Collector = (*Certificates)(nil)

// Add exposes a certificate under a name that is one of few, such as webhook or link-ca. The function returns the end of
// its validity, false while there is none; it must not block. A second one of a name replaces the first.
func (c *Certificates) Add(name string, notAfter func() (time.Time, bool)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.expires == nil {
		c.expires = map[string]func() (time.Time, bool){}
	}
	c.expires[name] = notAfter
}

func certificateDesc() *prometheus.Desc {
	return prometheus.NewDesc("kapok_certificate_expiry_timestamp_seconds",
		"When a certificate of this process ends to be valid, in seconds since 1970.", []string{"certificate"}, nil)
}

// Describe implements prometheus.Collector.
func (c *Certificates) Describe(out chan<- *prometheus.Desc) { out <- certificateDesc() }

// Collect implements prometheus.Collector.
func (c *Certificates) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	found := make(map[string]time.Time, len(c.expires))
	for name, notAfter := range c.expires {
		if at, ok := notAfter(); ok {
			found[name] = at
		}
	}
	c.mu.Unlock()
	desc := certificateDesc()
	for name, at := range found {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(at.Unix()), name)
	}
}
