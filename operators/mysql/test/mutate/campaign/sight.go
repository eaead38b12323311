package campaign

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/mutation"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

// differs compares what the spec asks for with what there is: pods, volumes, accounts and variables, not the status.
func (c *Campaign) differs(ctx context.Context, change mutation.Change) []string {
	cluster, err := c.cluster.Get(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	pods, err := c.cluster.Pods(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	if len(pods) != int(cluster.Spec.Instances) {
		out = append(out, fmt.Sprintf("there are %d pods, not %d", len(pods), cluster.Spec.Instances))
	}
	for _, name := range slices.Sorted(maps.Keys(pods)) {
		pod := pods[name]
		out = append(out, podDiffers(cluster, &pod)...)
		out = append(out, c.serverDiffers(ctx, cluster, &pod, change)...)
	}
	return append(out, c.accountsDiffer(ctx, cluster)...)
}

// podDiffers compares a pod with the spec.
func podDiffers(cluster *mysqlv1.MySQLCluster, pod *corev1.Pod) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, pod.Name+" "+fmt.Sprintf(format, args...)) }
	spec := &cluster.Spec
	for _, container := range pod.Spec.Containers {
		if container.Name != lab.ServerContainer {
			continue
		}
		if spec.Image != "" && container.Image != spec.Image || spec.Image == "" && !strings.HasSuffix(container.Image, ":"+spec.Version) {
			say("runs the image %s", container.Image)
		}
		if r := spec.Resources.Requests; r != nil && r.CPU != nil && container.Resources.Requests.Cpu().Cmp(*r.CPU) != 0 {
			say("requests %s of CPU, not %s", container.Resources.Requests.Cpu(), r.CPU)
		}
		if r := spec.Resources.Limits; r != nil && r.Memory != nil && container.Resources.Limits.Memory().Cmp(*r.Memory) != 0 {
			say("has the memory limit %s, not %s", container.Resources.Limits.Memory(), r.Memory)
		}
	}
	for name, value := range spec.Placement.NodeSelector {
		if pod.Spec.NodeSelector[name] != string(value) {
			say("does not ask for nodes with %s=%s", name, value)
		}
	}
	for _, want := range spec.Placement.Tolerations {
		if !slices.ContainsFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool { return t.Key == want.Key && string(t.Effect) == string(want.Effect) }) {
			say("does not tolerate %s", want.Key)
		}
	}
	return out
}

// serverDiffers asks an instance for what the change shall have brought, and for its buffer pool.
func (c *Campaign) serverDiffers(ctx context.Context, cluster *mysqlv1.MySQLCluster, pod *corev1.Pod, change mutation.Change) []string {
	sights := slices.Clone(change.Sights)
	// mysqld rounds up to whole chunks, which are at least a mebibyte.
	if pool := cluster.Spec.BufferPoolSize; pool != nil && cluster.Spec.Configuration["innodb_buffer_pool_size"] == "" {
		sights = append(sights, mutation.Sight{Want: "1",
			Query: fmt.Sprintf("SELECT @@GLOBAL.innodb_buffer_pool_size BETWEEN %d AND %d", pool.Value(), 2*pool.Value()+1<<20)})
	}
	var out []string
	for _, s := range sights {
		got, err := c.workload.Value(ctx, pod.Status.PodIP+":3306", s.Query)
		if err != nil {
			out = append(out, fmt.Sprintf("%s does not answer %q: %v", pod.Name, s.Query, err))
		} else if got != s.Want {
			out = append(out, fmt.Sprintf("%s answers %q with %q, want %q", pod.Name, s.Query, got, s.Want))
		}
	}
	return out
}

// accountsDiffer logs in as every account that has a password.
func (c *Campaign) accountsDiffer(ctx context.Context, cluster *mysqlv1.MySQLCluster) []string {
	var out []string
	for _, user := range cluster.Spec.Users {
		database := user.Database
		if database == "" {
			database = "information_schema"
		}
		// The workload's pod holds the passwords of the accounts that have one.
		said, err := c.cluster.Exec(ctx, c.cluster.Key.Namespace, "workload", "workload", "/mysql-workload", "query",
			"--address="+c.cluster.ServiceAddress(""), "--user="+user.Name, "--password-file=/users/"+user.Name, "--database="+database,
			"--sql=SELECT CURRENT_USER() AS account")
		var rows []map[string]string
		if err == nil {
			err = json.Unmarshal([]byte(said), &rows)
		}
		if err != nil || len(rows) != 1 || !strings.HasPrefix(rows[0]["account"], user.Name+"@") {
			out = append(out, fmt.Sprintf("the account %s cannot log in: %v %s", user.Name, err, said))
		}
	}
	return out
}

// operator returns the operator's pods with their restarts.
func (c *Campaign) operator(ctx context.Context) (map[types.UID]int32, error) {
	var pods corev1.PodList
	if err := c.cluster.Client.List(ctx, &pods, client.InNamespace(lab.OperatorNamespace)); err != nil {
		return nil, fmt.Errorf("list the operator's pods: %w", err)
	}
	out := map[types.UID]int32{}
	for _, p := range pods.Items {
		for _, s := range p.Status.ContainerStatuses {
			out[p.UID] += s.RestartCount
		}
	}
	return out, nil
}

// operatorSince says what the operator should not have done since then: restarted, or panicked.
func (c *Campaign) operatorSince(ctx context.Context, before map[types.UID]int32, since time.Time) ([]string, error) {
	after, err := c.operator(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	if !maps.Equal(before, after) {
		out = append(out, "the operator was restarted")
	}
	var pods corev1.PodList
	if err := c.cluster.Client.List(ctx, &pods, client.InNamespace(lab.OperatorNamespace)); err != nil {
		return out, fmt.Errorf("list the operator's pods: %w", err)
	}
	for _, p := range pods.Items {
		raw, err := c.cluster.Core.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{SinceTime: &metav1.Time{Time: since}}).DoRaw(ctx)
		if err != nil {
			return out, fmt.Errorf("read the log of %s: %w", p.Name, err)
		}
		for line := range strings.SplitSeq(string(raw), "\n") {
			if strings.Contains(line, "panic") {
				out = append(out, "the operator panicked: "+line)
				break
			}
		}
	}
	return out, nil
}
