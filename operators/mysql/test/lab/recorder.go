package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// Recorder is a pod whose clients write and read through the cluster's Services and note what they are told. What it
// notes is in a volume of the pod, so that a node may be lost and come back with it.
type Recorder struct {
	cluster *Cluster
	pod     string
	// Node is where it runs.
	Node string
}

// Recording is what a recorder says of itself.
type Recording struct {
	Chapter          string         `json:"chapter"`
	Boot             int            `json:"boot"`
	LastAcknowledged time.Duration  `json:"lastAcknowledged"`
	Errors           map[string]int `json:"errors"`
}

// FinalState is what the primary holds of a chapter when nobody writes any more.
type FinalState struct {
	Set       []int64            `json:"set"`
	Lists     map[string][]int64 `json:"lists"`
	Registers map[string]int64   `json:"registers"`
}

// StartRecorders starts a recorder on every usable node, waits until they run, and makes their tables.
func (c *Cluster) StartRecorders(ctx context.Context, interval time.Duration) ([]*Recorder, error) {
	nodes, err := c.usableNodes(ctx)
	if err != nil {
		return nil, err
	}
	var recorders []*Recorder
	for i, node := range nodes {
		r := &Recorder{cluster: c, pod: fmt.Sprintf("recorder-%d", i+1), Node: node}
		if err := r.start(ctx, i+1, interval); err != nil {
			return nil, err
		}
		recorders = append(recorders, r)
	}
	for i, r := range recorders {
		request := "report"
		if i == 0 {
			request = "prepare"
		}
		err := c.Wait(ctx, 2*time.Minute, r.pod, func(ctx context.Context) (bool, string, error) {
			if err := r.control(ctx, request, &Recording{}); err != nil {
				return NotYet(err)
			}
			return true, "", nil
		})
		if err != nil {
			return nil, err
		}
	}
	return recorders, nil
}

func (r *Recorder) start(ctx context.Context, number int, interval time.Duration) error {
	pod := (&Workload{cluster: r.cluster, pod: r.pod, options: WorkloadOptions{Name: r.pod, Node: r.Node, Account: Account, Database: Database}}).manifest()
	container := &pod.Spec.Containers[0]
	container.Args = []string{"record", "--address=" + r.cluster.ServiceAddress(""), "--replicas=" + r.cluster.ServiceAddress("-ro"),
		"--user=" + Account, "--password-file=/users/" + Account, "--database=" + Database, "--folder=/recording",
		"--pod=" + strconv.Itoa(number), "--interval=" + interval.String()}
	container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: "recording", MountPath: "/recording"})
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "recording", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
	if err := r.cluster.Client.Create(ctx, pod); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create the pod of a recorder: %w", err)
	}
	return nil
}

// attempts is how often a recorder is asked, and askedAgain how long after it gave no answer.
const (
	attempts   = 4
	askedAgain = 2 * time.Second
)

// exec asks the recorder and returns its answer as it is. The way to it leads through the network that is being disturbed, so it is
// asked again if there is no answer: every request may be repeated.
func (r *Recorder) exec(ctx context.Context, request string) (string, error) {
	for n := 1; ; n++ {
		out, err := r.cluster.Exec(ctx, r.cluster.Key.Namespace, r.pod, "workload", "/mysql-workload", "ctl", request)
		if err == nil || n == attempts {
			return out, err
		}
		select {
		case <-ctx.Done():
			return out, err
		case <-time.After(askedAgain):
		}
	}
}

func (r *Recorder) control(ctx context.Context, request string, into any) error {
	out, err := r.exec(ctx, request)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("read the answer of %s to %s: %w", r.pod, request, err)
	}
	return nil
}

// Begin begins a chapter.
func (r *Recorder) Begin(ctx context.Context, chapter string) error {
	return r.control(ctx, "chapter?name="+url.QueryEscape(chapter), &Recording{})
}

// End ends the chapter, when the operations under way have ended.
func (r *Recorder) End(ctx context.Context) error {
	return r.control(ctx, "end", &Recording{})
}

// Report asks how the recording is going.
func (r *Recorder) Report(ctx context.Context) (Recording, error) {
	var report Recording
	err := r.control(ctx, "report", &report)
	return report, err
}

// Acknowledged waits until a write is acknowledged that was invoked after the given moment of the machine's monotonic clock.
func (r *Recorder) Acknowledged(ctx context.Context, after, timeout time.Duration) error {
	const within = 5 * time.Second
	request := fmt.Sprintf("acknowledged?after=%s&within=%s", after, within)
	return r.cluster.Wait(ctx, timeout, "acknowledged writes of "+r.pod, func(ctx context.Context) (bool, string, error) {
		if err := r.control(ctx, request, &Recording{}); err != nil {
			return NotYet(err)
		}
		return true, "", nil
	})
}

// History returns what was recorded of a chapter.
func (r *Recorder) History(ctx context.Context, chapter string) ([]history.Operation, error) {
	out, err := r.exec(ctx, "history?chapter="+url.QueryEscape(chapter))
	if err != nil {
		return nil, err
	}
	ops, err := history.Read(bytes.NewBufferString(out))
	if err != nil {
		return nil, fmt.Errorf("read the history of %s: %w", r.pod, err)
	}
	return ops, nil
}

// Final returns what the primary holds of a chapter.
func (r *Recorder) Final(ctx context.Context, chapter string) (FinalState, error) {
	var state FinalState
	err := r.control(ctx, "final?chapter="+url.QueryEscape(chapter), &state)
	return state, err
}

// Remove deletes the recorder's pod, with what it recorded.
func (r *Recorder) Remove(ctx context.Context) error {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: r.cluster.Key.Namespace, Name: r.pod}}
	if err := client.IgnoreNotFound(r.cluster.Client.Delete(ctx, pod)); err != nil {
		return fmt.Errorf("delete the pod of a recorder: %w", err)
	}
	return nil
}
