package manager

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kapok-operators/kapok/shared/observability/jsonlog"
	"github.com/kapok-operators/kapok/shared/observability/otlp"
	"github.com/kapok-operators/kapok/shared/testkit/collector"
)

// served is the registry that is served, for one test: what is registered there is taken out again.
func served(t *testing.T) prometheus.Registerer {
	t.Helper()
	s := &scoped{Registerer: metrics.Registry}
	t.Cleanup(func() {
		for _, c := range s.mine {
			metrics.Registry.Unregister(c)
		}
	})
	return s
}

type scoped struct {
	prometheus.Registerer
	mine []prometheus.Collector
}

func (s *scoped) Register(c prometheus.Collector) error {
	err := s.Registerer.Register(c)
	if err == nil {
		s.mine = append(s.mine, c)
	}
	return err
}

// account makes a ServiceAccount and returns a token of it.
func account(t *testing.T, ns, name string) string {
	t.Helper()
	clients, err := kubernetes.NewForConfig(env.Config)
	if err != nil {
		t.Fatal(err)
	}
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	if err := env.Client.Create(t.Context(), sa); err != nil {
		t.Fatal(err)
	}
	request, err := clients.CoreV1().ServiceAccounts(ns).CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

// bind gives a subject a ClusterRole for the length of the test.
func bind(t *testing.T, name string, subject rbacv1.Subject, rules ...rbacv1.PolicyRule) {
	t.Helper()
	for _, obj := range []client.Object{
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: []rbacv1.Subject{subject},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}},
	} {
		if err := env.Client.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = env.Client.Delete(context.Background(), obj) })
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// scrape reads the metrics as Prometheus does.
func scrape(t *testing.T, address, token, accept string) (status int, format http.Header, body []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	request.Header.Set("Accept", accept)
	//nolint:gosec // The certificate is the server's own; who reads is what this is about.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, nil, nil
	}
	defer func() { _ = response.Body.Close() }()
	body, err = io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, body
}

// What Prometheus asks for: with native histograms switched on, and without.
const (
	acceptProtobuf    = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,text/plain;version=0.0.4;q=0.3"
	acceptOpenMetrics = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
	acceptText        = "text/plain;version=0.0.4"
)

// TestMetricsAreForAuthorizedReaders: an operator with no more than the permission to ask who reads serves whoever may
// read, in every format that Prometheus asks for, and nobody else.
func TestMetricsAreForAuthorizedReaders(t *testing.T) {
	ns := namespace(t)
	user, err := env.AddUser(envtest.User{Name: "op-" + ns}, nil)
	if err != nil {
		t.Fatal(err)
	}
	bind(t, ns+"-auth", rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User", Name: "op-" + ns},
		rbacv1.PolicyRule{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}, Verbs: []string{"create"}},
		rbacv1.PolicyRule{APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"subjectaccessreviews"}, Verbs: []string{"create"}})
	reader, stranger := account(t, ns, "prometheus"), account(t, ns, "stranger")
	bind(t, ns+"-reader", rbacv1.Subject{Kind: "ServiceAccount", Namespace: ns, Name: "prometheus"},
		rbacv1.PolicyRule{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}})

	spans, address := collector.Start(t), freeAddress(t)
	r := start(t, user.Config(), func(c *Config) {
		c.LeaderElection, c.MetricsAddress, c.Metrics, c.Version = false, address, served(t), "v1.2.3"
		c.Pod = jsonlog.Pod{Namespace: ns, Name: "op-0", UID: "uid-0"}
		c.Traces = otlp.Config{Endpoint: spans.Address, Insecure: true, Ratio: 1}
	})
	eventually(t, "the operator leads", r.leads)
	r.Certificates.Add("test", func() (time.Time, bool) { return time.Unix(1_800_000_000, 0), true })
	failed := errors.New("boom")
	_, err = r.Telemetry.Reconciler("things", "Thing", reconcile.Func(func(context.Context, reconcile.Request) (reconcile.Result, error) {
		return reconcile.Result{}, failed
	})).Reconcile(t.Context(), reconcile.Request{})
	if !errors.Is(err, failed) {
		t.Fatal(err)
	}
	eventually(t, "the metrics are served", func() bool { status, _, _ := scrape(t, address, reader, acceptText); return status != 0 })

	for who, tc := range map[string]struct {
		token string
		want  int
	}{
		// That a token is none counts as a failure of asking for the controller-runtime.
		"nobody": {"", http.StatusUnauthorized}, "a made-up token": {"nonsense", http.StatusInternalServerError},
		"an account that may not": {stranger, http.StatusForbidden}, "an account that may": {reader, http.StatusOK},
	} {
		if got, _, body := scrape(t, address, tc.token, acceptText); got != tc.want || got != http.StatusOK && bytes.Contains(body, []byte("kapok")) {
			t.Errorf("%s: status %d, want %d", who, got, tc.want)
		}
	}

	_, header, body := scrape(t, address, reader, acceptProtobuf)
	format := expfmt.ResponseFormat(header)
	if format.FormatType() != expfmt.TypeProtoDelim {
		t.Fatalf("asked for protobuf, got %v", header)
	}
	families := decode(t, body, format)
	h := families["kapok_operator_reconcile_duration_seconds"].GetMetric()[0].GetHistogram()
	if h.GetSampleCount() != 1 || len(h.GetPositiveSpan()) == 0 || len(h.GetBucket()) < 10 {
		t.Errorf("the histogram is not both native and classic: %v", h)
	}
	traced := ""
	for _, b := range h.GetBucket() {
		for _, l := range b.GetExemplar().GetLabel() {
			traced = l.GetValue()
		}
	}
	if len(traced) != 32 {
		t.Errorf("no exemplar in %v", h)
	}
	for name, want := range map[string]float64{"kapok_operator_leader": 1, "kapok_operator_info": 1, "kapok_certificate_expiry_timestamp_seconds": 1_800_000_000} {
		if got := families[name].GetMetric(); len(got) != 1 || got[0].GetGauge().GetValue() != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	term, _ := r.Term.Term()
	if got := families["kapok_operator_leader_term"].GetMetric(); len(got) != 1 || uint64(got[0].GetGauge().GetValue()) != term {
		t.Errorf("the term is %v, want %d", got, term)
	}
	labels := map[string]string{}
	for _, l := range families["kapok_operator_info"].GetMetric()[0].GetLabel() {
		labels[l.GetName()] = l.GetValue()
	}
	if diff := cmp.Diff(map[string]string{"operator": "test-operator", "version": "v1.2.3", "pod_namespace": ns, "pod": "op-0", "pod_uid": "uid-0"}, labels); diff != "" {
		t.Error(diff)
	}

	_, header, body = scrape(t, address, reader, acceptOpenMetrics)
	if kind := header.Get("Content-Type"); !strings.HasPrefix(kind, "application/openmetrics-text") || !strings.Contains(string(body), `# {trace_id="`+traced+`"}`) {
		t.Errorf("asked for OpenMetrics, got %s; the trace %s is in it: %t", kind, traced, strings.Contains(string(body), traced))
	}
	if _, _, body = scrape(t, address, reader, acceptText); strings.Contains(string(body), traced) {
		t.Error("an exemplar is in a format that has none")
	}

	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	// The trace that the exemplar names is where traces go, all the more since the operator has ended.
	got := spans.Spans()
	if len(got) != 1 || got[0].Name != "reconcile things" || got[0].Resource["k8s.pod.uid"] != "uid-0" {
		t.Errorf("got %v", got)
	}
}

func decode(t *testing.T, body []byte, format expfmt.Format) map[string]*dto.MetricFamily {
	t.Helper()
	out := map[string]*dto.MetricFamily{}
	decoder := expfmt.NewDecoder(bytes.NewReader(body), format)
	for {
		var f dto.MetricFamily
		err := decoder.Decode(&f)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out[f.GetName()] = &f
	}
}

// TestAStandbySaysThatItDoesNotLead: its term is absent, never 0, which would be a number like any other.
func TestAStandbySaysThatItDoesNotLead(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(leadership{&Term{}})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) != 1 || families[0].GetName() != "kapok_operator_leader" || families[0].Metric[0].Gauge.GetValue() != 0 {
		t.Errorf("got %v", families)
	}
}

func TestACollectorThatIsNotThereIsNoReasonNotToStart(t *testing.T) {
	r := start(t, env.Config, func(c *Config) {
		c.LeaderElection = false
		c.Traces = otlp.Config{Endpoint: freeAddress(t), Insecure: true, Ratio: 1}
	})
	eventually(t, "the operator leads", r.leads)
	_, action := r.Telemetry.Begin(t.Context(), "x")
	action.End(nil)
	begun := time.Now()
	if err := r.stop(); err != nil {
		t.Errorf("the operator's end: %v", err)
	}
	if took := time.Since(begun); took > otlp.FlushTimeout+5*time.Second {
		t.Errorf("the end took %s", took)
	}
}

func TestMetricsAreRegisteredOnce(t *testing.T) {
	registry := prometheus.NewRegistry()
	c, err := flags(t)
	if err != nil {
		t.Fatal(err)
	}
	c.LeaderElection, c.HealthAddress, c.MetricsAddress, c.Metrics = false, "0", "0", registry
	if _, err := New(env.Config, c, logr.Discard()); err != nil {
		t.Fatal(err)
	}
	if _, err := New(env.Config, c, logr.Discard()); err == nil {
		t.Error("two managers share one registry unnoticed")
	}
}
