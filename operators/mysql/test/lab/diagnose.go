package lab

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
)

const (
	// diagnosisTimeout bounds a diagnosis: it is made when something is broken already.
	diagnosisTimeout = 30 * time.Second
	// recentEvents is how many events a diagnosis prints of a namespace.
	recentEvents = 40
)

// Diagnose writes what is going on in the namespace and in the operator: conditions, instances, events, pods, and the last
// lines of logs. What cannot be read is said, and the rest goes on.
func (l *Lab) Diagnose(ctx context.Context, namespace string, logLines int64, out io.Writer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), diagnosisTimeout)
	defer cancel()
	section := func(format string, args ...any) { fmt.Fprintf(out, "\n== "+format+"\n", args...) }

	section("nodes")
	var nodes corev1.NodeList
	if err := l.Client.List(ctx, &nodes); err != nil {
		fmt.Fprintln(out, "cannot be read:", err)
	}
	for _, n := range nodes.Items {
		fmt.Fprintf(out, "%-12s ready=%t taints=%v\n", n.Name, nodeReady(n), n.Spec.Taints)
	}
	section("MySQLClusters in %s", namespace)
	l.diagnoseClusters(ctx, namespace, out)
	for _, ns := range []string{namespace, OperatorNamespace} {
		section("events in %s", ns)
		l.diagnoseEvents(ctx, ns, out)
		section("pods in %s", ns)
		l.diagnosePods(ctx, ns, logLines, out)
	}
}

func (l *Lab) diagnoseClusters(ctx context.Context, namespace string, out io.Writer) {
	var clusters mysqlv1.MySQLClusterList
	if err := l.Client.List(ctx, &clusters, client.InNamespace(namespace)); err != nil {
		fmt.Fprintln(out, "cannot be read:", err)
		return
	}
	for _, c := range clusters.Items {
		fmt.Fprintf(out, "%s: %s\n", c.Name, Describe(&c))
		for _, condition := range c.Status.Conditions {
			fmt.Fprintf(out, "  %-20s %-8s %-24s %s\n", condition.Type, condition.Status, condition.Reason, condition.Message)
		}
		raw, err := yaml.Marshal(map[string]any{"spec": c.Spec, "record": c.Status.Record, "instances": c.Status.Instances})
		if err != nil {
			raw = []byte(err.Error())
		}
		fmt.Fprintf(out, "%s\n", raw)
	}
}

func (l *Lab) diagnoseEvents(ctx context.Context, namespace string, out io.Writer) {
	var events eventsv1.EventList
	if err := l.Client.List(ctx, &events, client.InNamespace(namespace)); err != nil {
		fmt.Fprintln(out, "cannot be read:", err)
		return
	}
	when := func(e eventsv1.Event) time.Time {
		if e.Series != nil {
			return e.Series.LastObservedTime.Time
		}
		if !e.EventTime.IsZero() {
			return e.EventTime.Time
		}
		return e.DeprecatedLastTimestamp.Time
	}
	slices.SortFunc(events.Items, func(a, b eventsv1.Event) int { return cmp.Compare(when(a).UnixNano(), when(b).UnixNano()) })
	for _, e := range events.Items[max(0, len(events.Items)-recentEvents):] {
		fmt.Fprintf(out, "%s %-7s %-24s %s/%s: %s\n", when(e).UTC().Format("15:04:05.000"), e.Type, e.Reason,
			e.Regarding.Kind, e.Regarding.Name, e.Note)
	}
}

func (l *Lab) diagnosePods(ctx context.Context, namespace string, logLines int64, out io.Writer) {
	var pods corev1.PodList
	if err := l.Client.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
		fmt.Fprintln(out, "cannot be read:", err)
		return
	}
	for _, p := range pods.Items {
		fmt.Fprintf(out, "%-24s %-10s node=%s ip=%s deleted=%t\n", p.Name, p.Status.Phase, p.Spec.NodeName, p.Status.PodIP,
			p.DeletionTimestamp != nil)
		for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
			state, err := yaml.Marshal(s.State)
			if err != nil {
				state = []byte(err.Error())
			}
			fmt.Fprintf(out, "  container %s ready=%t restarts=%d\n    %s\n", s.Name, s.Ready, s.RestartCount,
				indent(state))
		}
	}
	for _, p := range pods.Items {
		for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
			raw, err := l.Core.CoreV1().Pods(namespace).GetLogs(p.Name,
				&corev1.PodLogOptions{Container: c.Name, TailLines: &logLines}).DoRaw(ctx)
			if err != nil {
				raw = []byte("cannot be read: " + err.Error() + "\n")
			}
			fmt.Fprintf(out, "\n-- last lines of %s/%s\n%s", p.Name, c.Name, raw)
		}
	}
}

// indent puts a YAML text below its heading.
func indent(raw []byte) string {
	return strings.ReplaceAll(strings.TrimSpace(string(raw)), "\n", "\n    ")
}

// DiagnoseTo writes a diagnosis into a file of the folder.
func (l *Lab) DiagnoseTo(ctx context.Context, namespace, folder string) (string, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("write the diagnosis: %w", err)
	}
	path := filepath.Join(folder, "diagnosis.txt")
	file, err := os.Create(path)
	if err != nil {
		return "", fmt.Errorf("write the diagnosis: %w", err)
	}
	l.Diagnose(ctx, namespace, 400, file)
	if err := file.Close(); err != nil {
		return "", fmt.Errorf("write the diagnosis: %w", err)
	}
	return path, nil
}
