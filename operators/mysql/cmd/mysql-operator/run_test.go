package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/shared/testkit"
	"github.com/kapok-operators/kapok/shared/testkit/collector"
)

// TestTheOperatorTellsAboutItself runs the whole program, as its Deployment does, on a real API server: what it serves, sends
// and writes is about the same cluster, and can be joined.
func TestTheOperatorTellsAboutItself(t *testing.T) {
	p := startProgram(t)
	if err := p.env.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}); err != nil {
		t.Fatal(err)
	}
	// A manifest with a name only, which the Go types cannot say.
	manifest := []byte("apiVersion: mysql.kapok.dev/v1alpha1\nkind: MySQLCluster\nmetadata: {name: db, namespace: shop}\n")
	cluster := &v1alpha1.MySQLCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"}}
	if err := p.env.Client.Patch(t.Context(), cluster, client.RawPatch(types.ApplyPatchType, manifest), client.FieldOwner("test")); err != nil {
		t.Fatal(err)
	}

	p.eventually("the cluster is in the metrics", func() bool {
		return value(p.scrape(), "kapok_mysql_phase", map[string]string{"namespace": "shop", "name": "db", "phase": "Creating"}) == 1
	})
	metrics := p.scrape()
	for name, want := range map[string]float64{"kapok_operator_leader": 1, "kapok_mysql_instances_wanted": 3, "kapok_mysql_failovers_total": 0} {
		if got := value(metrics, name, nil); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if value(metrics, "kapok_operator_info", map[string]string{"operator": "mysql-operator", "pod": "op-0", "pod_uid": "uid-0", "pod_namespace": "ops"}) != 1 {
		t.Errorf("it does not say who it is: %v", metrics["kapok_operator_info"])
	}
	if got := value(metrics, "kapok_certificate_expiry_timestamp_seconds", map[string]string{"certificate": "link"}); got <= float64(time.Now().Unix()) {
		t.Errorf("the link's certificate has ended at %v", got)
	}
	documented, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "docs", "reference", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	for name := range metrics {
		if strings.HasPrefix(name, "kapok_") && !strings.Contains(string(documented), "\n| `"+name+"` |") {
			t.Errorf("%s is served and not documented", name)
		}
	}
	if metrics["controller_runtime_reconcile_total"] == nil {
		t.Error("the metrics of the controller-runtime are not there")
	}

	p.stop()
	traces := map[string]bool{}
	for _, s := range p.spans.Spans() {
		if s.Name == "reconcile mysqlcluster" && s.Attributes["name"] == "db" && s.Resource["k8s.pod.uid"] == "uid-0" && s.Resource["service.name"] == name {
			traces[hex.EncodeToString(s.TraceId)] = true
		}
	}
	if len(traces) == 0 {
		t.Errorf("no round of the cluster is among the traces:\n%s", strings.Join(p.spans.Trees(), "\n"))
	}
	joined := false
	for line := range strings.Lines(p.written()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Errorf("a line that is not JSON: %s", line)
			continue
		}
		if fields["pod_uid"] != "uid-0" {
			t.Errorf("a line does not say who wrote it: %s", line)
		}
		id, _ := fields["trace_id"].(string)
		joined = joined || traces[id] && fields["msg"] == "The cluster stands" && fields["kind"] == "MySQLCluster" && fields["namespace"] == "shop" && fields["name"] == "db"
	}
	if !joined {
		t.Errorf("no line is about a trace that was sent:\n%s", p.written())
	}
}

// program is the operator, running.
type program struct {
	t              *testing.T
	env            *testkit.Env
	spans          *collector.Collector
	address, token string
	stderr         string
	stop           func()
}

func startProgram(t *testing.T) *program {
	t.Helper()
	scheme, err := newScheme()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, spans: collector.Start(t), address: freeAddress(t)}
	p.env = testkit.StartEnv(t, testkit.EnvOptions{Scheme: scheme, CRDPaths: []string{filepath.Join("..", "..", "config", "crd", "bases")}})
	p.token = p.reader()
	user, err := p.env.AddUser(envtest.User{Name: "operator", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := user.KubeConfig()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", file)
	// What it writes is looked at in the end.
	p.stderr = filepath.Join(t.TempDir(), "stderr")
	lines, err := os.Create(p.stderr)
	if err != nil {
		t.Fatal(err)
	}
	before := os.Stderr
	os.Stderr = lines

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{
			"--operator-image=kapok/mysql-operator:test", "--link-address=mysql-operator-link.ops.svc:9443", "--link-bind-address=127.0.0.1:0",
			"--health-address=0", "--metrics-address=" + p.address, "--pod-name=op-0", "--pod-namespace=ops", "--pod-uid=uid-0",
			"--otlp-endpoint=" + p.spans.Address, "--otlp-insecure",
		})
	}()
	stopped := false
	p.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the program ended: %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("the program does not end")
		}
		os.Stderr = before
		_ = lines.Close()
	}
	t.Cleanup(p.stop)
	return p
}

// reader makes an account that may read metrics and returns its token.
func (p *program) reader() string {
	p.t.Helper()
	for _, obj := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ops"}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ops", Name: "reader"}},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, Rules: []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reader"},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "ops", Name: "reader"}}},
	} {
		if err := p.env.Client.Create(p.t.Context(), obj); err != nil {
			p.t.Fatal(err)
		}
	}
	clients, err := kubernetes.NewForConfig(p.env.Config)
	if err != nil {
		p.t.Fatal(err)
	}
	request, err := clients.CoreV1().ServiceAccounts("ops").CreateToken(p.t.Context(), "reader", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	return request.Status.Token
}

// scrape returns what is served; nothing while it is not.
func (p *program) scrape() map[string]*dto.MetricFamily {
	p.t.Helper()
	request, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, fmt.Sprintf("https://%s/metrics", p.address), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+p.token)
	//nolint:gosec // The certificate is the server's own.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return families
}

func (p *program) written() string {
	p.t.Helper()
	raw, err := os.ReadFile(p.stderr)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(bytes.TrimSpace(raw))
}

func (p *program) eventually(what string, done func() bool) {
	p.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			p.t.Fatalf("not in time: %s\n%s", what, p.written())
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// value sums a metric over the series with the given labels; -1 if there is none.
func value(metrics map[string]*dto.MetricFamily, name string, labels map[string]string) float64 {
	sum, found := 0.0, false
	for _, m := range metrics[name].GetMetric() {
		have := map[string]string{}
		for _, l := range m.GetLabel() {
			have[l.GetName()] = l.GetValue()
		}
		matches := true
		for label, want := range labels {
			matches = matches && have[label] == want
		}
		if matches {
			found = true
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	if !found {
		return -1
	}
	return sum
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
