package campaign

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/mutation"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

func open(t *testing.T) *Campaign {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "config", "crd", "bases", "mysql.kapok.dev_mysqlclusters.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := mutation.ParseSpec(raw)
	if err != nil {
		t.Fatal(err)
	}
	return &Campaign{cluster: &lab.Cluster{Lab: &lab.Lab{}}, schema: parsed, base: mutation.Base()}
}

// TestOnlyWhatAMachineBearsIsTried keeps a campaign from taking the machine that it runs on down with it.
func TestOnlyWhatAMachineBearsIsTried(t *testing.T) {
	c := open(t)
	tried := map[string]bool{}
	for _, change := range c.Changes(1) {
		tried[change.Name] = true
	}
	for name, want := range map[string]bool{
		"spec.instances: the maximum":                false,
		"spec.instances: above the maximum":          true,
		"spec.instances: the minimum":                true,
		"spec.bufferPoolSize: a decimal unit":        false,
		"spec.bufferPoolSize: removed":               true,
		"spec.resources.limits.memory: removed":      false, // There is none in the base.
		"spec.storage: removed":                      false,
		"scenario: larger volumes":                   false,
		"scenario: smaller volumes":                  true,
		"scenario: scale to 5":                       true,
		"scenario: more memory than any node has":    true,
		"spec.configuration{}: a line break":         true,
		"spec.users[].name: longer than the longest": true,
	} {
		if tried[name] != want {
			t.Errorf("%s is tried: %t, want %t", name, tried[name], want)
		}
	}
	c.grow = true
	for _, change := range c.Changes(1) {
		tried[change.Name] = true
	}
	if !tried["scenario: larger volumes"] {
		t.Error("volumes that can grow are not enlarged")
	}
}

func TestWrongWith(t *testing.T) {
	cluster := func(generation int64, conditions ...metav1.Condition) *mysqlv1.MySQLCluster {
		return &mysqlv1.MySQLCluster{ObjectMeta: metav1.ObjectMeta{Generation: 2}, Status: mysqlv1.MySQLClusterStatus{ObservedGeneration: generation, Conditions: conditions}}
	}
	is := func(kind string, status metav1.ConditionStatus, reason string, generation int64) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason, ObservedGeneration: generation}
	}
	const no, yes = metav1.ConditionFalse, metav1.ConditionTrue
	for name, c := range map[string]struct {
		cluster *mysqlv1.MySQLCluster
		want    string
	}{
		"nothing":             {cluster(2), ""},
		"a refused option":    {cluster(2, is(mysqlv1.ConditionConfigurationValid, no, mysqlv1.ReasonConfigurationRefused, 2)), mysqlv1.ReasonConfigurationRefused},
		"of the spec before":  {cluster(1, is(mysqlv1.ConditionConfigurationValid, no, mysqlv1.ReasonConfigurationRefused, 1)), ""},
		"only the sum of all": {cluster(2, is(mysqlv1.ConditionReady, no, mysqlv1.ReasonUnschedulable, 2)), ""},
		"what passes":         {cluster(2, is(mysqlv1.ConditionReconciled, no, mysqlv1.ReasonPodsStarting, 2)), ""},
		"well":                {cluster(2, is(mysqlv1.ConditionUsersReady, yes, mysqlv1.ReasonAsExpected, 2)), ""},
	} {
		got := ""
		if found := wrongWith(c.cluster); found != nil {
			got = found.Reason
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestJudgeCondition(t *testing.T) {
	change := mutation.Change{Reason: mysqlv1.ReasonUnschedulable, Says: []string{"memory"}}
	available := metav1.Condition{Type: mysqlv1.ConditionAvailable, Status: metav1.ConditionTrue}
	for name, c := range map[string]struct {
		reason, message string
		available       metav1.ConditionStatus
		alarms          int
	}{
		"as it should be": {mysqlv1.ReasonUnschedulable, "no node has the memory", metav1.ConditionTrue, 0},
		"another reason":  {mysqlv1.ReasonApplyFailed, "memory", metav1.ConditionTrue, 1},
		"other words":     {mysqlv1.ReasonUnschedulable, "no", metav1.ConditionTrue, 1},
		"no words":        {mysqlv1.ReasonUnschedulable, "", metav1.ConditionTrue, 2},
		"not available":   {mysqlv1.ReasonUnschedulable, "memory", metav1.ConditionFalse, 1},
	} {
		available.Status = c.available
		cluster := &mysqlv1.MySQLCluster{Status: mysqlv1.MySQLClusterStatus{Conditions: []metav1.Condition{available}}}
		var result Result
		judgeCondition(change, &result, &metav1.Condition{Type: mysqlv1.ConditionReconciled, Reason: c.reason, Message: c.message}, cluster)
		if len(result.Alarms) != c.alarms || result.Verdict != mutation.RejectedLater {
			t.Errorf("%s: %v %v", name, result.Verdict, result.Alarms)
		}
	}
}

func TestPodDiffers(t *testing.T) {
	cpu, memory := resource.MustParse("60m"), resource.MustParse("1Gi")
	cluster := &mysqlv1.MySQLCluster{Spec: mysqlv1.MySQLClusterSpec{Version: "9.7",
		Resources: mysqlv1.Resources{Requests: &mysqlv1.ResourceAmounts{CPU: &cpu}, Limits: &mysqlv1.ResourceAmounts{Memory: &memory}},
		Placement: mysqlv1.Placement{NodeSelector: map[string]mysqlv1.LabelValue{"disk": "nvme"}, Tolerations: []mysqlv1.Toleration{{Key: "mutate", Operator: "Exists"}}}}}
	right := func() *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{
			NodeSelector: map[string]string{"disk": "nvme"}, Tolerations: []corev1.Toleration{{Key: "mutate", Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{Name: lab.ServerContainer, Image: "kapok.local/mysql:9.7", Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: cpu}, Limits: corev1.ResourceList{corev1.ResourceMemory: memory}}}}}}
	}
	for name, c := range map[string]struct {
		change func(*corev1.Pod)
		want   string
	}{
		"the same":   {func(*corev1.Pod) {}, ""},
		"image":      {func(p *corev1.Pod) { p.Spec.Containers[0].Image = "kapok.local/mysql:9.6" }, "runs the image"},
		"request":    {func(p *corev1.Pod) { delete(p.Spec.Containers[0].Resources.Requests, corev1.ResourceCPU) }, "requests 0 of CPU"},
		"limit":      {func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Limits = nil }, "has the memory limit 0"},
		"selector":   {func(p *corev1.Pod) { p.Spec.NodeSelector = nil }, "does not ask for nodes"},
		"toleration": {func(p *corev1.Pod) { p.Spec.Tolerations = nil }, "does not tolerate mutate"},
	} {
		pod := right()
		c.change(pod)
		got := strings.Join(podDiffers(cluster, pod), "; ")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestRefused(t *testing.T) {
	kind := schema.GroupKind{Kind: "MySQLCluster"}
	for err, want := range map[error]bool{
		apierrors.NewInvalid(kind, "x", nil): true, apierrors.NewBadRequest("x"): true, apierrors.NewInternalError(errors.New("x")): false,
		apierrors.NewTimeoutError("x", 1): false, errors.New("x"): false,
	} {
		if refused(err) != want {
			t.Errorf("%v: refused is %t", err, !want)
		}
	}
	if refused(nil) {
		t.Error("what was taken is refused")
	}
}
