package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/kapok-operators/kapok/operators/mysql/internal/monitoring/promtest"
)

// The ports of the pod of Prometheus, and where in it notifications are sent.
const (
	prometheusPort   = 9090
	alertmanagerPort = 9093
	receiverPort     = 8080
)

// askTimeout bounds one question to Prometheus.
const askTimeout = 15 * time.Second

// Prometheus is a pod in which the real Prometheus and Alertmanager run beside a receiver of notifications.
type Prometheus struct {
	lab            *Lab
	namespace, pod string
}

// PrometheusOptions says what is watched, and who is told.
type PrometheusOptions struct {
	// Monitors and Rules are what the operator has made; they are in the namespace in which Prometheus is to run.
	Monitors []*monitoringv1.PodMonitor
	Rules    []*monitoringv1.PrometheusRule
	// Alertmanager is its configuration, Templates the files below /etc/alertmanager/templates, Secrets those below
	// /etc/alertmanager/secrets.
	Alertmanager       []byte
	Templates, Secrets map[string]string
}

// ReceiverAddress is where the receiver is, as Alertmanager sees it.
const ReceiverAddress = "http://127.0.0.1:8080"

// StartPrometheus starts the pod and waits until both answer.
func (l *Lab) StartPrometheus(ctx context.Context, namespace string, o PrometheusOptions) (*Prometheus, error) {
	p := &Prometheus{lab: l, namespace: namespace, pod: "prometheus"}
	files, err := o.files()
	if err != nil {
		return nil, err
	}
	object := metav1.ObjectMeta{Namespace: namespace, Name: p.pod}
	templates := metav1.ObjectMeta{Namespace: namespace, Name: p.pod + "-templates"}
	for _, o := range []client.Object{
		&corev1.ServiceAccount{ObjectMeta: object},
		&rbacv1.Role{ObjectMeta: object, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "watch"}}}},
		&rbacv1.RoleBinding{ObjectMeta: object, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: p.pod},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: p.pod}}},
		&corev1.ConfigMap{ObjectMeta: object, Data: files},
		&corev1.ConfigMap{ObjectMeta: templates, Data: o.Templates},
		&corev1.Secret{ObjectMeta: object, StringData: o.Secrets},
		p.manifest(),
	} {
		if err := l.Client.Create(ctx, o); err != nil {
			return nil, fmt.Errorf("create the %T of Prometheus: %w", o, err)
		}
	}
	return p, l.Wait(ctx, 2*time.Minute, "Prometheus and Alertmanager", func(ctx context.Context) (bool, string, error) {
		for _, port := range []int{prometheusPort, alertmanagerPort} {
			if _, err := p.get(ctx, port, "/-/ready", nil); err != nil {
				return NotYet(err)
			}
		}
		return true, "", nil
	})
}

// files are the configurations of both programs.
func (o PrometheusOptions) files() (map[string]string, error) {
	var scrapes []map[string]any
	for _, m := range o.Monitors {
		configs, err := ScrapeConfigs(m)
		if err != nil {
			return nil, err
		}
		scrapes = append(scrapes, configs...)
	}
	files := map[string]string{"alertmanager.yaml": string(o.Alertmanager)}
	for _, r := range o.Rules {
		raw, err := yaml.Marshal(r.Spec)
		if err != nil {
			return nil, fmt.Errorf("write the rules of %s: %w", r.Name, err)
		}
		files["rules-"+r.Name+".yaml"] = string(raw)
	}
	raw, err := yaml.Marshal(map[string]any{
		"scrape_configs": scrapes,
		"rule_files":     []string{"/config/rules-*.yaml"},
		"alerting": map[string]any{"alertmanagers": []map[string]any{
			{"static_configs": []map[string]any{{"targets": []string{fmt.Sprintf("127.0.0.1:%d", alertmanagerPort)}}}},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("write Prometheus' configuration: %w", err)
	}
	files["prometheus.yaml"] = string(raw)
	return files, nil
}

func (p *Prometheus) manifest() *corev1.Pod {
	no, yes, user, second := false, true, int64(65534), int64(1)
	mount := func(name, path string) corev1.VolumeMount { return corev1.VolumeMount{Name: name, MountPath: path} }
	container := func(name, image string, port int32, mounts []corev1.VolumeMount, command ...string) corev1.Container {
		return corev1.Container{
			Name: name, Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Command: command, VolumeMounts: mounts,
			Ports: []corev1.ContainerPort{{ContainerPort: port}},
			SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
		}
	}
	named := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: p.pod},
		Spec: corev1.PodSpec{
			ServiceAccountName: p.pod, RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: &second,
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &user, RunAsGroup: &user, FSGroup: &user,
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{
				container("prometheus", p.lab.PrometheusImage, prometheusPort, []corev1.VolumeMount{mount("config", "/config"), mount("data", "/data")},
					"prometheus", "--config.file=/config/prometheus.yaml", "--storage.tsdb.path=/data/prometheus"),
				container("alertmanager", p.lab.PrometheusImage, alertmanagerPort, []corev1.VolumeMount{
					mount("config", "/config"), mount("data", "/data"), mount("templates", "/etc/alertmanager/templates"),
					{Name: "secrets", MountPath: "/etc/alertmanager/secrets", ReadOnly: true},
				}, "prometheus-alertmanager", "--config.file=/config/alertmanager.yaml", "--storage.path=/data/alertmanager", "--cluster.listen-address="),
				container("receiver", p.lab.WorkloadImage, receiverPort, nil, "/mysql-workload", "receive", fmt.Sprintf("--listen=:%d", receiverPort)),
			},
			Volumes: []corev1.Volume{
				{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: named(p.pod)}}},
				{Name: "templates", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: named(p.pod + "-templates")}}},
				{Name: "secrets", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: p.pod}}},
				{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			},
		},
	}
}

// get asks one of the pod's programs, through the API server.
func (p *Prometheus) get(ctx context.Context, port int, path string, params map[string]string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	raw, err := p.lab.Core.CoreV1().Pods(p.namespace).ProxyGet("http", p.pod, strconv.Itoa(port), path, params).DoRaw(ctx)
	if err != nil {
		return raw, fmt.Errorf("ask %s:%d%s: %w: %.300s", p.pod, port, path, err, raw)
	}
	return raw, nil
}

// ask asks Prometheus and decodes the data of its answer.
func (p *Prometheus) ask(ctx context.Context, path string, params map[string]string, into any) error {
	raw, err := p.get(ctx, prometheusPort, path, params)
	if err != nil {
		return err
	}
	answer := struct{ Data any }{into}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("read the answer of Prometheus to %s: %w", path, err)
	}
	return nil
}

// Point is one sample.
type Point struct {
	At    time.Time
	Value float64
}

// UnmarshalJSON reads Prometheus' pair of a time in seconds and a value in quotes.
func (p *Point) UnmarshalJSON(raw []byte) error {
	var pair [2]any
	if err := json.Unmarshal(raw, &pair); err != nil {
		return err
	}
	seconds, isNumber := pair[0].(float64)
	text, isText := pair[1].(string)
	if !isNumber || !isText {
		return fmt.Errorf("not a sample: %s", raw)
	}
	p.At = time.UnixMilli(int64(seconds * 1000))
	var err error
	p.Value, err = strconv.ParseFloat(text, 64)
	return err
}

// Series is one series of an answer: Value of an instant, Values of a range.
type Series struct {
	Metric map[string]string
	Value  Point
	Values []Point
}

// Query asks for an expression: one value of each series, or its samples if the expression is a range.
func (p *Prometheus) Query(ctx context.Context, expression string) ([]Series, error) {
	var data struct{ Result []Series }
	err := p.ask(ctx, "/api/v1/query", map[string]string{"query": expression}, &data)
	return data.Result, err
}

// MetricsOf names the metrics of an expression, as Prometheus reads it.
func (p *Prometheus) MetricsOf(ctx context.Context, expression string) ([]string, error) {
	var data any
	if err := p.ask(ctx, "/api/v1/parse_query", map[string]string{"query": expression}, &data); err != nil {
		return nil, err
	}
	return promtest.Metrics(data), nil
}

// Alert is an alert that is pending or firing.
type Alert struct {
	Labels map[string]string
	State  string
}

// Alerts returns the alerts of now.
func (p *Prometheus) Alerts(ctx context.Context) ([]Alert, error) {
	var data struct{ Alerts []Alert }
	err := p.ask(ctx, "/api/v1/alerts", nil, &data)
	return data.Alerts, err
}

// Notification is what Alertmanager has sent to the receiver.
type Notification struct {
	Path string
	At   time.Time
	Body string
}

// Notifications returns all that was sent so far, the oldest first.
func (p *Prometheus) Notifications(ctx context.Context) ([]Notification, error) {
	raw, err := p.get(ctx, receiverPort, "/", nil)
	if err != nil {
		return nil, err
	}
	var sent []Notification
	if err := json.Unmarshal(raw, &sent); err != nil {
		return nil, fmt.Errorf("read the notifications: %w", err)
	}
	return sent, nil
}
