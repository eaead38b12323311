package chaos

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// epochs follows which epochs are committed. It reads live and often: whoever acknowledges is held to them.
type epochs struct {
	mu    sync.Mutex
	known []history.Epoch
	// asked is when the newest answer was asked for: whatever an answer shows for the first time was committed later than
	// the question before it.
	asked time.Duration
}

// lookEvery is how often the record is read.
const lookEvery = 100 * time.Millisecond

// follow reads the record until the context ends. While nobody answers it goes on asking.
func (e *epochs) follow(ctx context.Context, c *lab.Cluster) {
	for ctx.Err() == nil {
		limited, cancel := context.WithTimeout(ctx, 2*time.Second)
		asked := history.Now()
		if cluster, err := c.Get(limited); err == nil {
			e.note(cluster, asked)
		}
		cancel()
		if sleep(ctx, lookEvery) != nil {
			return
		}
	}
}

// note takes note of the record in an answer.
func (e *epochs) note(cluster *mysqlv1.MySQLCluster, asked time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := lab.Epoch(cluster); n > 0 && (len(e.known) == 0 || e.known[len(e.known)-1].Number < n) {
		// It was not there yet when the question before was asked, so that this is never later than its commit.
		e.known = append(e.known, history.Epoch{Number: n, Server: lab.Primary(cluster), From: e.asked})
	}
	e.asked = asked
}

// since returns the epochs that were in force at a moment or began after it.
func (e *epochs) since(at time.Duration) []history.Epoch {
	e.mu.Lock()
	defer e.mu.Unlock()
	first := 0
	for i, epoch := range e.known {
		if epoch.From <= at {
			first = i
		}
	}
	// One more: it may have been in force at that moment, because From is a lower bound.
	return slices.Clone(e.known[max(0, first-1):])
}

// Phases is how a failover went, counted from the first fault of the round. Zero is "not seen": the log that would tell went
// with its pod, or there was no failover.
type Phases struct {
	// Detected is when the operator said that the primary does not serve any more.
	Detected time.Duration `json:"detected,omitempty"`
	// Promoted is when the promotion was committed.
	Promoted time.Duration `json:"promoted,omitempty"`
}

// line is what is needed of a line of the operator's log.
type line struct {
	Time    time.Time `json:"time"`
	Message string    `json:"msg"`
	State   string    `json:"state"`
	Step    string    `json:"step"`
	Name    string    `json:"name"`
	Space   string    `json:"namespace"`
}

// phases reads the operators' logs since a moment.
func (f *field) phases(ctx context.Context, began time.Time) (Phases, error) {
	var pods corev1.PodList
	if err := f.cluster.Client.List(ctx, &pods, client.InNamespace(lab.OperatorNamespace)); err != nil {
		return Phases{}, fmt.Errorf("list the operator's pods: %w", err)
	}
	var lines []line
	since := metav1.NewTime(began.Add(-time.Second))
	for _, p := range pods.Items {
		raw, err := f.cluster.Core.CoreV1().Pods(lab.OperatorNamespace).GetLogs(p.Name, &corev1.PodLogOptions{SinceTime: &since}).DoRaw(ctx)
		if err != nil {
			// A pod that has just been made has no log yet.
			continue
		}
		lines = append(lines, parseLog(raw)...)
	}
	return phasesOf(lines, f.cluster.Key, began), nil
}

func parseLog(raw []byte) []line {
	var lines []line
	scanner := bufio.NewScanner(bytes.NewReader(raw))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var l line
		if json.Unmarshal(scanner.Bytes(), &l) == nil && (l.State != "" || l.Step != "") {
			lines = append(lines, l)
		}
	}
	return lines
}

// phasesOf finds the phases in the lines about one cluster.
func phasesOf(lines []line, key client.ObjectKey, began time.Time) Phases {
	slices.SortStableFunc(lines, func(a, b line) int { return a.Time.Compare(b.Time) })
	var p Phases
	for _, l := range lines {
		if l.Time.Before(began) || l.Name != key.Name || l.Space != key.Namespace {
			continue
		}
		after := l.Time.Sub(began)
		switch {
		case p.Detected == 0 && slices.Contains([]string{"FailingOver", "Waiting", "SwitchingOver"}, l.State):
			p.Detected = after
		case p.Promoted == 0 && slices.Contains([]string{"Promote", "Switchover", "RenewEpoch", "ForcePromote"}, l.Step):
			p.Promoted = after
			if p.Detected == 0 {
				// Decided and committed in the same round.
				p.Detected = after
			}
		}
	}
	return p
}
