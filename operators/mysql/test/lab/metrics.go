package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// metricsPort is where an operator's pod serves its metrics.
const metricsPort = 8443

// MetricsReader makes an account that may read the operator's metrics and returns a token of it.
func (l *Lab) MetricsReader(ctx context.Context, namespace string) (string, error) {
	const name = "metrics-reader"
	for _, obj := range []client.Object{
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: namespace + "-" + name},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: name}},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: OperatorName + "-metrics-reader"}},
	} {
		if err := l.Client.Create(ctx, obj); err != nil && !apierrors.IsAlreadyExists(err) {
			return "", fmt.Errorf("make a reader of metrics: %w", err)
		}
	}
	request, err := l.Core.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("make a token for the reader of metrics: %w", err)
	}
	return request.Status.Token, nil
}

// Metrics reads the metrics of an operator's pod, with a token or as nobody. The status is that of the answer; there are
// metrics only if it is 200.
func (l *Lab) Metrics(ctx context.Context, pod, token string) (status int, metrics map[string]*dto.MetricFamily, err error) {
	port, stop, err := l.forward(OperatorNamespace, pod, metricsPort)
	if err != nil {
		return 0, nil, err
	}
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/metrics", port), nil)
	if err != nil {
		return 0, nil, fmt.Errorf("ask %s for its metrics: %w", pod, err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	//nolint:gosec // Each replica makes its certificate for itself; who reads is what is checked.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, nil, fmt.Errorf("ask %s for its metrics: %w", pod, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return response.StatusCode, nil, nil
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	metrics, err = parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return response.StatusCode, nil, fmt.Errorf("read the metrics of %s: %w", pod, err)
	}
	return response.StatusCode, metrics, nil
}

// forward opens a port of this machine that leads to a port of a pod, until stop is called.
func (l *Lab) forward(namespace, pod string, to int) (port uint16, stop func(), err error) {
	transport, upgrader, err := spdy.RoundTripperFor(l.Config)
	if err != nil {
		return 0, nil, fmt.Errorf("prepare a way to %s: %w", pod, err)
	}
	url := l.Core.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	ended, ready, done, failed := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var told bytes.Buffer
	forwarder, err := portforward.New(spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url),
		[]string{fmt.Sprintf("0:%d", to)}, ended, ready, io.Discard, &told)
	if err != nil {
		return 0, nil, fmt.Errorf("prepare a way to %s: %w", pod, err)
	}
	go func() {
		defer close(done)
		failed <- forwarder.ForwardPorts()
	}()
	select {
	case <-ready:
	case err := <-failed:
		return 0, nil, fmt.Errorf("find a way to %s: %w: %s", pod, err, told.String())
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		close(ended)
		return 0, nil, fmt.Errorf("find a way to %s: %w", pod, err)
	}
	return ports[0].Local, func() { close(ended); <-done }, nil
}

// Total sums the values of a metric over the series that have the given labels. A metric that is not there has none.
func Total(family *dto.MetricFamily, labels map[string]string) float64 {
	sum := 0.0
	for _, m := range family.GetMetric() {
		have := map[string]string{}
		for _, l := range m.GetLabel() {
			have[l.GetName()] = l.GetValue()
		}
		matches := true
		for name, value := range labels {
			matches = matches && have[name] == value
		}
		if matches {
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}
