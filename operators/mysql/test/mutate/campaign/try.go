package campaign

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/mutation"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

const (
	// between is how long a step is under way before somebody thinks better of it.
	between = 4 * time.Second
	// settled is how long a cluster has to look healthy: that something is wrong may be found out a moment later.
	settled = 8 * time.Second
	// persistent is how long a condition has to say that something cannot be done.
	persistent = 10 * time.Second
	// again is the pause between two looks.
	again = 500 * time.Millisecond
)

// Result is what came of a change.
type Result struct {
	Change  string           `json:"change"`
	Expect  mutation.Verdict `json:"expect"`
	Verdict mutation.Verdict `json:"verdict"`
	// Said is the refusal, or the condition.
	Said string `json:"said,omitempty"`
	// Seconds is how long it took with the way back; Gap the longest time without an acknowledged write meanwhile.
	Seconds float64 `json:"seconds"`
	Gap     float64 `json:"gap_ms"`
	// Alarms are what should not have been.
	Alarms []string `json:"alarms,omitempty"`
	// Broken says that the cluster is not healthy afterwards: nothing that follows would prove anything.
	Broken bool `json:"broken,omitempty"`
}

func (r *Result) alarm(format string, args ...any) {
	r.Alarms = append(r.Alarms, fmt.Sprintf(format, args...))
}

// Try makes one change, judges it and takes it back. The error says that the judge failed, not the cluster.
func (c *Campaign) Try(ctx context.Context, change mutation.Change) (Result, error) {
	begun := time.Now()
	result := Result{Change: change.Name, Expect: change.Expect}
	before, err := c.operator(ctx)
	if err != nil {
		return result, err
	}
	if err := c.workload.Mark(ctx, change.Name); err != nil {
		return result, err
	}
	if err := c.play(ctx, change, &result); err != nil {
		return result, err
	}
	if event, err := c.workload.Recovered(ctx, hung); err != nil {
		result.alarm("writes do not go on: %v", err)
		result.Broken = true
	} else {
		result.Gap = event.Milliseconds
		if event.Gap() > hung {
			result.alarm("nobody could write for %s", event.Gap())
		}
	}
	problems, err := c.operatorSince(ctx, before, begun)
	result.Alarms = append(result.Alarms, problems...)
	result.Seconds = time.Since(begun).Round(100 * time.Millisecond).Seconds()
	return result, err
}

// play makes the change, judges it, and takes it back.
func (c *Campaign) play(ctx context.Context, change mutation.Change, result *Result) error {
	spec, generation := c.base, int64(0)
	for i, step := range change.Steps {
		if i > 0 {
			if err := sleep(ctx, between); err != nil {
				return err
			}
		}
		var err error
		if spec, err = mutation.Apply(spec, step); err != nil {
			return err
		}
		before, err := c.cluster.Get(ctx)
		if err != nil {
			return err
		}
		generation, err = c.put(ctx, spec)
		if refused(err) {
			c.judgeRefusal(ctx, change, result, before.Generation, err)
			return c.takeBack(ctx, change, result, i > 0)
		}
		if err != nil {
			return err
		}
	}
	if err := c.judge(ctx, change, result, generation); err != nil {
		return err
	}
	return c.takeBack(ctx, change, result, true)
}

// put writes a spec and returns the generation.
func (c *Campaign) put(ctx context.Context, spec map[string]any) (int64, error) {
	for {
		object := &unstructured.Unstructured{}
		object.SetGroupVersionKind(mysqlv1.SchemeGroupVersion.WithKind("MySQLCluster"))
		if err := c.strict.Get(ctx, c.cluster.Key, object); err != nil {
			return 0, fmt.Errorf("read the cluster: %w", err)
		}
		object.Object["spec"] = spec
		err := c.strict.Update(ctx, object)
		if !apierrors.IsConflict(err) {
			return object.GetGeneration(), err
		}
	}
}

// refused says that the API server does not want what it was given.
func refused(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsForbidden(err)
}

func (c *Campaign) judgeRefusal(ctx context.Context, change mutation.Change, result *Result, generation int64, err error) {
	result.Verdict, result.Said = mutation.Refused, err.Error()
	if change.Expect != mutation.Refused && change.Expect != mutation.Open {
		result.alarm("is refused: %v", err)
	}
	if problem := mutation.Unclear(change, err); problem != "" {
		result.alarm("%s", problem)
	}
	if after, err := c.cluster.Get(ctx); err != nil || after.Generation != generation {
		result.alarm("something was changed although it was refused: %v", err)
	}
}

// judge watches until the cluster is all that the spec asks for, or a condition says for a while why it cannot be.
func (c *Campaign) judge(ctx context.Context, change mutation.Change, result *Result, generation int64) error {
	deadline := time.Now().Add(patience)
	var healthySince, wrongSince time.Time
	var wrong *metav1.Condition
	seen := ""
	for time.Now().Before(deadline) {
		cluster, err := c.cluster.Get(ctx)
		if err != nil {
			return err
		}
		seen = lab.Describe(cluster)
		if lab.Healthy(cluster) && cluster.Generation == generation {
			if healthySince.IsZero() {
				healthySince = time.Now()
			}
		} else {
			healthySince = time.Time{}
		}
		found := wrongWith(cluster)
		if found == nil || wrong == nil || found.Type != wrong.Type || found.Reason != wrong.Reason {
			wrongSince = time.Now()
		}
		wrong = found
		switch {
		case !healthySince.IsZero() && time.Since(healthySince) >= settled:
			c.judgeConverged(ctx, change, result, deadline)
			return nil
		// Who expects more of it waits longer: a Secret takes a minute to arrive.
		case wrong != nil && change.Expect != mutation.Converged && time.Since(wrongSince) >= persistent:
			judgeCondition(change, result, wrong, cluster)
			return nil
		}
		if err := sleep(ctx, again); err != nil {
			return err
		}
	}
	if wrong != nil {
		result.Verdict, result.Said = mutation.RejectedLater, said(wrong)
		result.alarm("has not converged within %s: %s", patience, said(wrong))
		return nil
	}
	result.alarm("is stuck and no condition says why: %s", seen)
	return nil
}

func (c *Campaign) judgeConverged(ctx context.Context, change mutation.Change, result *Result, deadline time.Time) {
	result.Verdict = mutation.Converged
	if change.Expect != mutation.Converged && change.Expect != mutation.Open {
		result.alarm("the cluster says that it has converged, want %s", change.Expect)
	}
	for _, p := range c.differsUntil(ctx, change, deadline) {
		result.alarm("the cluster says that it has converged, but %s", p)
	}
}

// differsUntil looks until nothing differs. The status may be a moment ahead of what a query shows, and on a machine that
// stands still for seconds a primary may be replaced at any moment.
func (c *Campaign) differsUntil(ctx context.Context, change mutation.Change, deadline time.Time) []string {
	for {
		problems := c.differs(ctx, change)
		if len(problems) == 0 || time.Now().After(deadline) || sleep(ctx, again) != nil {
			return problems
		}
	}
}

func judgeCondition(change mutation.Change, result *Result, wrong *metav1.Condition, cluster *mysqlv1.MySQLCluster) {
	result.Verdict, result.Said = mutation.RejectedLater, said(wrong)
	if change.Reason != "" && wrong.Reason != change.Reason {
		result.alarm("the reason is %s, want %s", wrong.Reason, change.Reason)
	}
	for _, word := range change.Says {
		if !strings.Contains(wrong.Message, word) {
			result.alarm("the condition does not say %q: %s", word, wrong.Message)
		}
	}
	if wrong.Message == "" {
		result.alarm("the condition %s has no message", wrong.Type)
	}
	for _, available := range cluster.Status.Conditions {
		if available.Type == mysqlv1.ConditionAvailable && available.Status != metav1.ConditionTrue {
			result.alarm("the cluster is not available: %s", said(&available))
		}
	}
}

func said(c *metav1.Condition) string {
	return fmt.Sprintf("%s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message)
}

// wrongWith returns the condition that says why the spec cannot be met; nil while there is none, or one of something that
// passes by itself.
func wrongWith(cluster *mysqlv1.MySQLCluster) *metav1.Condition {
	for i := range cluster.Status.Conditions {
		condition := &cluster.Status.Conditions[i]
		if condition.Status == metav1.ConditionFalse && condition.ObservedGeneration == cluster.Generation && slices.Contains(reasons(), condition.Reason) &&
			condition.Type != mysqlv1.ConditionReady {
			return condition
		}
	}
	return nil
}

// reasons are those that wait for a person.
func reasons() []string {
	return []string{
		mysqlv1.ReasonNameTaken, mysqlv1.ReasonApplyFailed, mysqlv1.ReasonUnschedulable, mysqlv1.ReasonImageUnusable,
		mysqlv1.ReasonServerMissing, mysqlv1.ReasonStartFailed, mysqlv1.ReasonConfigurationRefused, mysqlv1.ReasonVolumeFull,
		mysqlv1.ReasonExpansionRefused, mysqlv1.ReasonGrowthLimitReached, mysqlv1.ReasonPasswordMissing, mysqlv1.ReasonAccountFailed,
	}
}

// takeBack returns to the base and waits until the cluster is healthy, without help.
func (c *Campaign) takeBack(ctx context.Context, change mutation.Change, result *Result, changed bool) error {
	if !changed {
		return nil
	}
	generation, err := c.put(ctx, c.base)
	switch {
	case refused(err) && change.Lasting:
		return c.keep(ctx, result)
	case refused(err):
		result.alarm("cannot be taken back: %v", err)
		result.Broken = true
		return nil
	case err != nil:
		return err
	}
	healthy := func(cluster *mysqlv1.MySQLCluster) bool {
		return cluster.Generation >= generation && lab.Healthy(cluster)
	}
	if _, err := c.cluster.WaitFor(ctx, patience, "to be healthy again", healthy); err != nil {
		result.alarm("taken back, the cluster does not become healthy: %v", err)
		result.Broken = true
		return ctx.Err()
	}
	// It has to stay so: what was taken back may still be on its way.
	if err := sleep(ctx, settled/2); err != nil {
		return err
	}
	if _, err := c.cluster.WaitFor(ctx, patience, "to stay healthy", healthy); err != nil {
		result.alarm("taken back, the cluster does not stay healthy: %v", err)
		result.Broken = true
	}
	for _, p := range c.differsUntil(ctx, mutation.Change{}, time.Now().Add(patience)) {
		result.alarm("taken back, the cluster says that it has converged, but %s", p)
	}
	return ctx.Err()
}

// keep makes what cannot be taken back part of the base.
func (c *Campaign) keep(ctx context.Context, result *Result) error {
	cluster := &unstructured.Unstructured{}
	cluster.SetGroupVersionKind(mysqlv1.SchemeGroupVersion.WithKind("MySQLCluster"))
	if err := c.strict.Get(ctx, c.cluster.Key, cluster); err != nil {
		return fmt.Errorf("read the cluster: %w", err)
	}
	spec, ok := cluster.Object["spec"].(map[string]any)
	if !ok {
		return errors.New("read the cluster: it has no spec")
	}
	c.base = spec
	result.Broken = result.Verdict != mutation.Converged
	return nil
}

// sleep waits, unless the context ends first.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
