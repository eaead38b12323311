package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// WorkloadOptions say how a workload writes.
type WorkloadOptions struct {
	// Name is the pod's name; "workload" if empty.
	Name string
	// Node is the node to run on; empty leaves it to the scheduler.
	Node string
	// Writers and Interval are how many write and how long each pauses between rows; 0 leaves the client's choice.
	Writers  int
	Interval time.Duration
	// Account and Database are whom to write as and where; the lab's own if empty.
	Account, Database string
}

// Workload is a client that runs in the cluster. It is controlled by running it once more in its own container, which works
// wherever a fault can be injected.
type Workload struct {
	cluster *Cluster
	pod     string
	options WorkloadOptions
}

// WriteGap is a silence as the client measured it.
type WriteGap struct {
	Milliseconds float64   `json:"gap_ms"`
	From         time.Time `json:"from"`
	To           time.Time `json:"to"`
	Ended        bool      `json:"ended"`
}

// Event is what the client saw during a window.
type Event struct {
	Name string `json:"name"`
	WriteGap
	Acknowledged int `json:"acknowledged"`
}

// Gap is the event's write gap.
func (e Event) Gap() time.Duration { return time.Duration(e.Milliseconds * float64(time.Millisecond)) }

// Report is everything the client knows.
type Report struct {
	Run     string           `json:"run"`
	Writing bool             `json:"writing"`
	Tally   history.Tally    `json:"tally"`
	Events  []Event          `json:"events"`
	Gaps    []WriteGap       `json:"gaps"`
	Errors  map[string]int   `json:"errors"`
	Verdict *history.Verdict `json:"verdict"`
}

// StartWorkload starts a client that writes through the cluster's read-write Service, and waits for its first acknowledged
// row.
func (c *Cluster) StartWorkload(ctx context.Context, o WorkloadOptions) (*Workload, error) {
	if o.Name == "" {
		o.Name = "workload"
	}
	if o.Account == "" {
		o.Account, o.Database = Account, Database
	}
	w := &Workload{cluster: c, pod: o.Name, options: o}
	if err := w.Remove(ctx); err != nil {
		return nil, err
	}
	if err := c.Client.Create(ctx, w.manifest()); err != nil {
		return nil, fmt.Errorf("create the workload's pod: %w", err)
	}
	return w, c.Wait(ctx, 90*time.Second, "the workload", func(ctx context.Context) (bool, string, error) {
		var pod corev1.Pod
		if err := c.Client.Get(ctx, client.ObjectKey{Namespace: c.Key.Namespace, Name: w.pod}, &pod); err != nil {
			return NotYet(err)
		}
		if pod.Status.Phase == corev1.PodFailed {
			return false, "", fmt.Errorf("its pod failed: %s", terminated(pod))
		}
		if pod.Status.Phase != corev1.PodRunning {
			return false, string(pod.Status.Phase), nil
		}
		report, err := w.Report(ctx)
		if err != nil {
			return NotYet(err)
		}
		return report.Tally.Acknowledged > 0, fmt.Sprintf("no row acknowledged yet %v", report.Errors), nil
	})
}

func terminated(pod corev1.Pod) string {
	for _, s := range pod.Status.ContainerStatuses {
		if t := s.State.Terminated; t != nil {
			return fmt.Sprintf("exit code %d %s %s", t.ExitCode, t.Reason, t.Message)
		}
	}
	return pod.Status.Message
}

func (w *Workload) manifest() *corev1.Pod {
	no, yes, user, second := false, true, int64(65532), int64(1)
	args := []string{"run", "--address=" + w.cluster.ServiceAddress(""), "--user=" + w.options.Account,
		"--password-file=/users/" + w.options.Account, "--database=" + w.options.Database}
	if w.options.Writers > 0 {
		args = append(args, "--writers="+strconv.Itoa(w.options.Writers))
	}
	if w.options.Interval > 0 {
		args = append(args, "--interval="+w.options.Interval.String())
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.cluster.Key.Namespace, Name: w.pod,
			Labels: map[string]string{"app.kubernetes.io/name": "mysql-workload"}},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken:  &no,
			RestartPolicy:                 corev1.RestartPolicyNever,
			TerminationGracePeriodSeconds: &second,
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &user, RunAsGroup: &user, FSGroup: &user,
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			// A lost node must not take the client's history with it before anybody has read it.
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}},
			Containers: []corev1.Container{{
				Name: "workload", Image: w.cluster.WorkloadImage, ImagePullPolicy: corev1.PullIfNotPresent,
				Command: []string{"/mysql-workload"}, Args: args,
				SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
					corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("32Mi")}},
				VolumeMounts: []corev1.VolumeMount{{Name: "users", MountPath: "/users", ReadOnly: true}},
			}},
			Volumes: []corev1.Volume{{Name: "users", VolumeSource: corev1.VolumeSource{
				Secret: &corev1.SecretVolumeSource{SecretName: w.cluster.Key.Name + "-users"}}}},
		},
	}
	if w.options.Node != "" {
		pod.Spec.NodeSelector = map[string]string{corev1.LabelHostname: w.options.Node}
	}
	return pod
}

// ServiceAddress returns the address of one of the cluster's Services: "" for read-write, "-ro" or "-r".
func (c *Cluster) ServiceAddress(suffix string) string {
	return fmt.Sprintf("%s%s.%s.svc:3306", c.Key.Name, suffix, c.Key.Namespace)
}

// Remove deletes the client's pod and waits until it is gone.
func (w *Workload) Remove(ctx context.Context) error {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.cluster.Key.Namespace, Name: w.pod}}
	if err := w.cluster.Client.Delete(ctx, pod); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("delete the workload's pod: %w", err)
	}
	return w.cluster.Wait(ctx, 30*time.Second, "the end of the last workload", func(ctx context.Context) (bool, string, error) {
		err := w.cluster.Client.Get(ctx, client.ObjectKeyFromObject(pod), pod)
		return apierrors.IsNotFound(err), "", client.IgnoreNotFound(err)
	})
}

// control asks the client.
func (w *Workload) control(ctx context.Context, request string, into any) error {
	out, err := w.cluster.Exec(ctx, w.cluster.Key.Namespace, w.pod, "workload", "/mysql-workload", "ctl", request)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("read the workload's answer to %s: %w", request, err)
	}
	return nil
}

// Mark opens an event's window.
func (w *Workload) Mark(ctx context.Context, name string) error {
	return w.control(ctx, "mark?name="+url.QueryEscape(name), &history.Tally{})
}

// Recovered waits until the silence of the open event has ended and writes go on, and closes the event. The client itself
// waits, a little at a time, so that losing the way to it costs little.
func (w *Workload) Recovered(ctx context.Context, timeout time.Duration) (Event, error) {
	const within = 5 * time.Second
	var event Event
	err := w.cluster.Wait(ctx, timeout, "acknowledged writes", func(ctx context.Context) (bool, string, error) {
		if err := w.control(ctx, "recovered?within="+within.String(), &event); err != nil {
			return NotYet(err)
		}
		return true, "", nil
	})
	return event, err
}

// Report asks for everything so far.
func (w *Workload) Report(ctx context.Context) (Report, error) {
	var report Report
	err := w.control(ctx, "report", &report)
	return report, err
}

// Verify ends the writing, compares the table on the primary with the history, and returns the report with its verdict.
func (w *Workload) Verify(ctx context.Context) (Report, error) {
	return w.verify(ctx, "verify")
}

// VerifyAt compares the table on another address with the history.
func (w *Workload) VerifyAt(ctx context.Context, address string) (Report, error) {
	return w.verify(ctx, "verify?address="+url.QueryEscape(address))
}

func (w *Workload) verify(ctx context.Context, request string) (Report, error) {
	var report Report
	if err := w.control(ctx, request, &report); err != nil {
		return report, err
	}
	if report.Verdict == nil {
		return report, errors.New("the workload gave no verdict")
	}
	return report, nil
}

// Query runs one statement as the lab's account against an address and returns the rows.
func (w *Workload) Query(ctx context.Context, address, statement string) ([]map[string]*string, error) {
	out, err := w.cluster.Exec(ctx, w.cluster.Key.Namespace, w.pod, "workload", "/mysql-workload", "query", "--address="+address,
		"--user="+w.options.Account, "--password-file=/users/"+w.options.Account, "--database="+w.options.Database, "--sql="+statement)
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", address, err)
	}
	var rows []map[string]*string
	if err := json.Unmarshal([]byte(strings.TrimSpace(out)), &rows); err != nil {
		return nil, fmt.Errorf("read the rows of %s: %w", address, err)
	}
	return rows, nil
}

// Value runs a statement that gives one value.
func (w *Workload) Value(ctx context.Context, address, statement string) (string, error) {
	rows, err := w.Query(ctx, address, statement)
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		return "", fmt.Errorf("%q gave %d rows, not one value", statement, len(rows))
	}
	for _, v := range rows[0] {
		if v != nil {
			return *v, nil
		}
	}
	return "", nil
}

// Node returns the node on which the client runs.
func (w *Workload) Node(ctx context.Context) (string, error) {
	return w.cluster.NodeOf(ctx, w.pod)
}
