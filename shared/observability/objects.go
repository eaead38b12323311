package observability

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
)

// Family is a metric that every object of a kind has: its labels are namespace and name of the object, and those below.
type Family struct {
	// Name and Help are as Prometheus wants them.
	Name, Help string
	// Labels are further labels, all with few values.
	Labels []string
	// Counted makes it a counter; else it is a gauge.
	Counted bool
	// Series are the values of Labels that a counter is known to have. An object shows them as 0 from the beginning:
	// increase() does not see the first event of a series that begins with it. A counter without further labels has one.
	Series [][]string
}

// Sample is one value of a gauge.
type Sample struct {
	// Family is the gauge.
	Family *Family
	// Labels are the values of the family's further labels, in order.
	Labels []string
	// Value is the value.
	Value float64
}

// Objects exposes what is known about each object of a kind. All series of an object go with one call of Forget, so that
// none can be left behind. It is safe for concurrent use, where calls for one object come one after the other, as the rounds
// of a controller do. A scrape holds up a round for as long as it reads that one object.
type Objects struct {
	families []*Family
	descs    map[*Family]*prometheus.Desc

	mu      sync.Mutex
	objects map[types.NamespacedName]*series
}

// series are those of one object.
type series struct {
	mu       sync.Mutex
	gauges   []Sample
	counters map[string]*Sample
}

var _ prometheus.Collector = (*Objects)(nil)

// NewObjects returns a collector of the given families.
func NewObjects(families ...*Family) *Objects {
	o := &Objects{families: families, descs: map[*Family]*prometheus.Desc{}, objects: map[types.NamespacedName]*series{}}
	for _, f := range families {
		o.descs[f] = prometheus.NewDesc(f.Name, f.Help, append([]string{"namespace", "name"}, f.Labels...), nil)
	}
	return o
}

// Set replaces the gauges of an object by samples, which are the collector's from then on.
func (o *Objects) Set(name types.NamespacedName, samples []Sample) {
	s := o.series(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gauges = samples
}

// Add raises a counter of an object.
func (o *Objects) Add(name types.NamespacedName, f *Family, n float64, labels ...string) {
	s := o.series(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counter(f, labels).Value += n
}

// Forget drops every series of an object.
func (o *Objects) Forget(name types.NamespacedName) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.objects, name)
}

// series returns those of an object, with its counters at 0 if it is new.
func (o *Objects) series(name types.NamespacedName) *series {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.objects[name]; s != nil {
		return s
	}
	s := &series{counters: map[string]*Sample{}}
	for _, f := range o.families {
		switch {
		case !f.Counted:
		case len(f.Labels) == 0:
			s.counter(f, nil)
		default:
			for _, labels := range f.Series {
				s.counter(f, labels)
			}
		}
	}
	o.objects[name] = s
	return s
}

func (s *series) counter(f *Family, labels []string) *Sample {
	key := f.Name + "\x00" + strings.Join(labels, "\x00")
	c := s.counters[key]
	if c == nil {
		c = &Sample{Family: f, Labels: slices.Clone(labels)}
		s.counters[key] = c
	}
	return c
}

// Describe implements prometheus.Collector.
func (o *Objects) Describe(out chan<- *prometheus.Desc) {
	for _, f := range o.families {
		out <- o.descs[f]
	}
}

// Collect implements prometheus.Collector.
func (o *Objects) Collect(out chan<- prometheus.Metric) {
	o.mu.Lock()
	objects := maps.Clone(o.objects)
	o.mu.Unlock()
	for name, s := range objects {
		// The channel is read by others, who may be slow: a round must not wait for them.
		for _, m := range o.metrics(name, s) {
			out <- m
		}
	}
}

func (o *Objects) metrics(name types.NamespacedName, s *series) []prometheus.Metric {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]prometheus.Metric, 0, len(s.gauges)+len(s.counters))
	for i := range s.gauges {
		out = append(out, o.metric(name, prometheus.GaugeValue, &s.gauges[i]))
	}
	for _, c := range s.counters {
		out = append(out, o.metric(name, prometheus.CounterValue, c))
	}
	return out
}

func (o *Objects) metric(name types.NamespacedName, kind prometheus.ValueType, s *Sample) prometheus.Metric {
	desc := o.descs[s.Family]
	if desc == nil {
		err := fmt.Errorf("the metric %s is none of those that were declared", s.Family.Name)
		return prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
	}
	m, err := prometheus.NewConstMetric(desc, kind, s.Value, append([]string{name.Namespace, name.Name}, s.Labels...)...)
	if err != nil {
		return prometheus.NewInvalidMetric(desc, err)
	}
	return m
}
