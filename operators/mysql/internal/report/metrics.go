package report

import (
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kapok-operators/kapok/operators/mysql/internal/act"
	"github.com/kapok-operators/kapok/operators/mysql/internal/observe"
	"github.com/kapok-operators/kapok/operators/mysql/internal/status"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
	"github.com/kapok-operators/kapok/shared/observability"
)

// Metrics are the operator's metrics of MySQLClusters. Only the leader has any. The nil Metrics count nothing.
type Metrics struct {
	objects  *observability.Objects
	families families
	parts    *prometheus.HistogramVec
	gaps     *prometheus.HistogramVec

	mu      sync.Mutex
	stories map[types.NamespacedName]*told
}

// told is what is remembered of a cluster.
type told struct {
	story status.Story
	// committed is the span of the round that committed the newest primary: the trace that explains a gap.
	committed trace.SpanContext
	// gap is the newest gap that has ended; nil if none has.
	gap *status.Gap
}

// families are the metrics that every cluster has.
type families struct {
	epoch, writable, wanted, existing, ready, connected, voters, fit, quorum, roles, phase, conditions *observability.Family
	instance, instanceReady, instanceVoter, instanceHeard, instanceRole, instanceLag                   *observability.Family
	lastGap                                                                                            *observability.Family
	failovers, switchovers, refused, replaced                                                          *observability.Family
}

// The values of the label result of switchovers.
const (
	switchoverDone    = "done"
	switchoverGivenUp = "given-up"
)

// The values of the label part of a failover.
const (
	partDetect  = "detect"
	partCommit  = "commit"
	partPromote = "promote"
)

func newFamilies() families {
	gauge := func(name, help string, labels ...string) *observability.Family {
		return &observability.Family{Name: "kapok_mysql_" + name, Help: help, Labels: labels}
	}
	counter := func(name, help string, series [][]string, labels ...string) *observability.Family {
		return &observability.Family{Name: "kapok_mysql_" + name, Help: help, Labels: labels, Counted: true, Series: series}
	}
	var failovers, switchovers [][]string
	for _, loss := range status.Failovers() {
		failovers = append(failovers, []string{string(loss)})
	}
	for _, reason := range status.Switchovers() {
		switchovers = append(switchovers, []string{string(reason), switchoverDone}, []string{string(reason), switchoverGivenUp})
	}
	return families{
		epoch:         gauge("epoch", "The committed epoch: it grows by one with every new primary."),
		writable:      gauge("writable", "1 if the primary takes writes, as its agent says, else 0."),
		wanted:        gauge("instances_wanted", "Instances that the spec asks for."),
		existing:      gauge("instances", "Instances that have a pod."),
		ready:         gauge("instances_ready", "Wanted instances that serve."),
		connected:     gauge("agents_connected", "Instances whose agent the operator hears."),
		voters:        gauge("voters", "Instances whose acknowledgement counts."),
		fit:           gauge("voters_fit", "Voters that do their work: the primary serves, a replica follows and acknowledges."),
		quorum:        gauge("write_quorum", "Voters that have to hold a transaction before it is acknowledged; with fewer fit ones writes wait."),
		roles:         gauge("instances_by_role", "Instances by what they are; Unknown if their agent is not heard.", "role"),
		phase:         gauge("phase", "1 for the phase that the cluster is in (kubectl get shows it), 0 for the others.", "phase"),
		conditions:    gauge("condition", "A condition of the cluster: 1 True, 0 False, -1 Unknown.", "type"),
		instance:      gauge("instance_info", "1, with the MySQL version of an instance and the UID of its pod.", "pod", "pod_uid", "version"),
		instanceReady: gauge("instance_ready", "1 if the instance serves, else 0.", "pod", "pod_uid"),
		instanceVoter: gauge("instance_voter", "1 if the instance votes, else 0.", "pod", "pod_uid"),
		instanceHeard: gauge("instance_heard", "1 if the operator hears the instance's agent, else 0.", "pod", "pod_uid"),
		instanceRole:  gauge("instance_role", "1 for what the instance is.", "pod", "pod_uid", "role"),
		instanceLag: gauge("instance_lag_seconds",
			"How old the newest applied transaction of a replica is while something is left to apply; absent if unknown.", "pod", "pod_uid"),
		lastGap:     gauge("last_write_gap_seconds", "Length of the newest time without a primary that takes writes; absent if none was seen.", "cause"),
		failovers:   counter("failovers_total", "Promotions in place of a lost primary, by why it was given up.", failovers, "reason"),
		switchovers: counter("switchovers_total", "Planned hand-overs of the primary, by why and by result.", switchovers, "reason", "result"),
		refused:     counter("directives_refused_total", "Directives that instances refused to obey.", nil),
		replaced:    counter("instances_replaced_total", "Pods that the operator deleted to have them made anew.", nil),
	}
}

// all are the families in no particular order.
func (f families) all() []*observability.Family {
	return []*observability.Family{
		f.epoch, f.writable, f.wanted, f.existing, f.ready, f.connected, f.voters, f.fit, f.quorum, f.roles, f.phase, f.conditions,
		f.instance, f.instanceReady, f.instanceVoter, f.instanceHeard, f.instanceRole, f.instanceLag, f.lastGap,
		f.failovers, f.switchovers, f.refused, f.replaced,
	}
}

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		families: newFamilies(), stories: map[types.NamespacedName]*told{},
		parts: prometheus.NewHistogramVec(observability.Histogram("kapok_mysql_failover_duration_seconds",
			"The parts of a failover: from the last sign of a working primary to the decision (detect), to the commit (commit), to the new primary's first report that it takes writes (promote)."),
			[]string{"part"}),
		gaps: prometheus.NewHistogramVec(observability.Histogram("kapok_mysql_write_gap_seconds",
			"Time without a primary that takes writes, as far as the operator knows, by what it was for."), []string{"cause"}),
	}
	m.objects = observability.NewObjects(m.families.all()...)
	for _, cause := range status.Causes() {
		m.gaps.WithLabelValues(string(cause))
	}
	for _, c := range []prometheus.Collector{m.objects, m.parts, m.gaps} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of MySQLClusters: %w", err)
		}
	}
	return m, nil
}

// round counts what a round has brought.
func (m *Metrics) round(name types.NamespacedName, span trace.SpanContext, o topology.Observation, out act.Outcome, at time.Time) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.stories[name]
	if t == nil {
		t = &told{}
		m.stories[name] = t
	}
	if out.Committed != nil {
		t.committed = span
	}
	var news status.News
	t.story, news = t.story.Tell(o, out.Committed, at)
	if news.Failover != topology.LossNone {
		m.objects.Add(name, m.families.failovers, 1, string(news.Failover))
	}
	if news.Switchover != "" {
		result := switchoverDone
		if news.GivenUp {
			result = switchoverGivenUp
		}
		m.objects.Add(name, m.families.switchovers, 1, string(news.Switchover), result)
	}
	m.objects.Add(name, m.families.refused, float64(news.Refused))
	if out.Deleted != "" {
		m.objects.Add(name, m.families.replaced, 1)
	}
	if gap := news.Closed; gap != nil {
		m.closed(*gap, t)
		t.gap = gap
	}
}

// closed counts a gap. Its exemplar is the trace of the commit, which tells more than that of the round that found it over.
func (m *Metrics) closed(gap status.Gap, t *told) {
	observability.Observe(m.gaps.WithLabelValues(string(gap.Cause)), t.committed, gap.Whole())
	if gap.Cause != status.CauseFailover {
		return
	}
	for part, took := range map[string]time.Duration{partDetect: gap.Detect, partCommit: gap.Commit, partPromote: gap.Promote} {
		observability.Observe(m.parts.WithLabelValues(part), t.committed, took)
	}
}

// set replaces what is known of a cluster.
func (m *Metrics) set(name types.NamespacedName, measure status.Measure, pods map[string]*corev1.Pod) {
	if m == nil {
		return
	}
	samples := m.families.samples(measure, pods)
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.stories[name]; t != nil && t.gap != nil {
		samples = append(samples, observability.Sample{
			Family: m.families.lastGap, Labels: []string{string(t.gap.Cause)}, Value: t.gap.Whole().Seconds()})
	}
	m.objects.Set(name, samples)
}

// forget drops every series of a cluster.
func (m *Metrics) forget(name types.NamespacedName) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.stories, name)
	m.objects.Forget(name)
}

// samples are the gauges of a cluster.
func (f families) samples(measure status.Measure, pods map[string]*corev1.Pod) []observability.Sample {
	var out []observability.Sample
	add := func(family *observability.Family, value float64, labels ...string) {
		out = append(out, observability.Sample{Family: family, Labels: labels, Value: value})
	}
	for _, phase := range status.Phases() {
		add(f.phase, truth(phase == measure.Phase), string(phase))
	}
	for _, c := range measure.Conditions {
		value := map[metav1.ConditionStatus]float64{metav1.ConditionTrue: 1, metav1.ConditionFalse: 0, metav1.ConditionUnknown: -1}
		add(f.conditions, value[c.Status], c.Type)
	}
	seen := measure.Seen
	if seen == nil {
		return out
	}
	add(f.epoch, float64(seen.Epoch))
	add(f.writable, truth(seen.Writable))
	add(f.wanted, float64(seen.Wanted))
	add(f.existing, float64(seen.Existing))
	add(f.ready, float64(seen.Ready))
	add(f.connected, float64(seen.Connected))
	add(f.voters, float64(seen.Voters))
	add(f.fit, float64(seen.VotersFit))
	add(f.quorum, float64(seen.WriteQuorum))
	for _, role := range status.RoleNames() {
		add(f.roles, float64(seen.Roles[role]), role)
	}
	for _, i := range seen.Instances {
		uid := ""
		if pod := pods[i.Name]; pod != nil {
			uid = string(pod.UID)
		}
		add(f.instance, 1, i.Name, uid, i.Version)
		add(f.instanceReady, truth(i.Ready), i.Name, uid)
		add(f.instanceVoter, truth(i.Voter), i.Name, uid)
		add(f.instanceHeard, truth(i.Heard), i.Name, uid)
		add(f.instanceRole, 1, i.Name, uid, i.Role)
		if i.Lag != nil {
			add(f.instanceLag, float64(*i.Lag), i.Name, uid)
		}
	}
	return out
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// key names the cluster of an observation.
func key(obs *observe.Observation) types.NamespacedName {
	return types.NamespacedName{Namespace: obs.Cluster.Namespace, Name: obs.Cluster.Name}
}
