package webhooks

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// shown is how many failures are kept word for word.
const shown = 20

// Load sends requests that the webhooks of an installation answer, and counts
// those that failed.
type Load struct {
	client client.Client
	to     Installation

	// Sent and Failed count requests; Dried and Refused are the ones of them that
	// were only tried, and those to which the right answer is no.
	Sent, Failed, Dried, Refused atomic.Int64

	mu       sync.Mutex
	failures []string
	longest  time.Duration
	// begun are the requests that are not answered yet.
	begun map[*time.Time]struct{}
}

// NewLoad returns a load that has sent nothing.
func NewLoad(c client.Client, to Installation) *Load {
	return &Load{client: c, to: to, begun: map[*time.Time]struct{}{}}
}

// Failures are the first requests that failed.
func (l *Load) Failures() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.failures...)
}

// Longest is how long the slowest request took.
func (l *Load) Longest() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.longest
}

// Oldest is how long the oldest of the requests has been waited for that are not answered yet.
func (l *Load) Oldest() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var oldest time.Duration
	for began := range l.begun {
		oldest = max(oldest, time.Since(*began))
	}
	return oldest
}

// begin notes that something is waited for until end is called.
func (l *Load) begin() (began time.Time, end func()) {
	began = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun[&began] = struct{}{}
	return began, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.begun, &began)
	}
}

func (l *Load) send(what string, request func() error) {
	began, end := l.begin()
	err := request()
	end()
	l.Sent.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.longest = max(l.longest, time.Since(began))
	if err == nil {
		return
	}
	l.Failed.Add(1)
	if len(l.failures) < shown {
		l.failures = append(l.failures, fmt.Sprintf("%s %s: %v", began.Format(time.TimeOnly), what, err))
	}
}

// Try calls each of the webhooks once; it does not count. An API server takes a
// moment to see its first webhooks, and to serve a new kind.
func (l *Load) Try(ctx context.Context) error {
	_, end := l.begin()
	defer end()
	c, namespace := l.client, l.to.Name
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "first-"}}
	if err := mutated(cm, c.Create(ctx, cm, client.DryRunAll)); err != nil {
		return err
	}
	const name = "first"
	one, two := l.to.Widget("v1", namespace, name), l.to.Widget("v2", namespace, name)
	if err := c.Create(ctx, one); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return c.Get(ctx, client.ObjectKeyFromObject(two), two)
}

// Work sends requests until ctx ends; worker makes the names its own.
func (l *Load) Work(ctx context.Context, worker int) {
	c, namespace := l.client, l.to.Name
	for i := 0; ctx.Err() == nil; i++ {
		name := fmt.Sprintf("w%d-%d", worker, i)
		send := func(what string, request func() error) {
			if ctx.Err() != nil {
				return
			}
			l.send(what, request)
			time.Sleep(30 * time.Millisecond)
		}
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		// The requests are not cut short at the end: each that was begun counts.
		whole := context.WithoutCancel(ctx)
		send("create a ConfigMap", func() error { return mutated(cm, c.Create(whole, cm)) })
		send("update a ConfigMap", func() error {
			cm.Data = map[string]string{"n": "2"}
			return c.Update(whole, cm)
		})
		send("try to create a ConfigMap", func() error {
			l.Dried.Add(1)
			dry := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + "-dry"}}
			return mutated(dry, c.Create(whole, dry, client.DryRunAll))
		})
		send("create a ConfigMap that is refused", func() error {
			l.Refused.Add(1)
			bad := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + "-bad", Labels: map[string]string{"refuse": "true"}}}
			if err := c.Create(whole, bad); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), Refusal) {
				return fmt.Errorf("want a refusal, got %w", err)
			}
			return nil
		})
		one := l.to.Widget("v1", namespace, name)
		send("create a Widget", func() error { return mutated(one, c.Create(whole, one)) })
		two := l.to.Widget("v2", namespace, name)
		send("read a Widget of another version", func() error { return c.Get(whole, client.ObjectKeyFromObject(two), two) })
		send("update a Widget of another version", func() error {
			if err := unstructured.SetNestedField(two.Object, int64(2), "spec", "n"); err != nil {
				return err
			}
			return c.Update(whole, two)
		})
		send("delete a Widget of another version", func() error { return c.Delete(whole, two) })
	}
}
