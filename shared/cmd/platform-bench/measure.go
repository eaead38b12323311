package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func crds() []*apiextensionsv1.CustomResourceDefinition {
	return []*apiextensionsv1.CustomResourceDefinition{definition()}
}

// options says how much is measured.
type options struct {
	objects, rounds, perSecond, kills, shardObjects int
	idle, load, shardWait                           time.Duration
}

// bench is a run.
type bench struct {
	options
	report *report
	save   func(*report) error
	server *server
	client client.Client
	one    *replica
	began  time.Time
	next   int
}

// measure runs the whole benchmark.
func measure(ctx context.Context, o options, save func(*report) error) (err error) {
	s, err := startServer()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	rc := rest.CopyConfig(s.env.Config)
	rc.QPS = -1
	c, err := client.New(rc, client.Options{Scheme: s.env.Scheme})
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	b := &bench{options: o, save: save, server: s, client: c, began: time.Now(),
		report: &report{Objects: o.objects}}
	if err := b.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		return fmt.Errorf("make the namespace: %w", err)
	}
	if b.one, err = startReplica(ctx, s.kubeconfig); err != nil {
		return err
	}
	err = b.parts(ctx)
	b.one.stop()
	if err != nil {
		return err
	}
	if b.shardObjects > 0 {
		b.say("shards")
		if err := b.shards(ctx); err != nil {
			return fmt.Errorf("shards: %w", err)
		}
	}
	b.report.Complete = true
	return save(b.report)
}

// parts runs all parts in order and saves the report after each.
func (b *bench) parts(ctx context.Context) error {
	for _, part := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"settle", b.settle}, {"steady", b.steady}, {"queue", b.queue}, {"kills", b.killLeaders}, {"API server restarts", b.restarts},
	} {
		b.say("%s", part.name)
		if err := part.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		if err := b.save(b.report); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1fs %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

func name(i int) string { return fmt.Sprintf("widget-%05d", i) }

// each does something for all objects, eight at a time.
func (b *bench) each(ctx context.Context, do func(ctx context.Context, i int) error) error {
	return b.first(ctx, b.objects, do)
}

// first does something for the first n objects, eight at a time.
func (b *bench) first(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := worker; i < n && ctx.Err() == nil; i += 8 {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (b *bench) leads(ctx context.Context) error {
	return until(ctx, 50*time.Millisecond, func() (bool, error) {
		f, err := b.one.figures(ctx, "")
		return err == nil && f.Leads, nil
	})
}

// quiet waits until no request was made for three seconds and at least so many objects have been reconciled.
func (b *bench) quiet(ctx context.Context, objects int) (figures, error) {
	var last figures
	since := time.Now()
	err := until(ctx, 200*time.Millisecond, func() (bool, error) {
		f, err := b.one.figures(ctx, "")
		if err != nil {
			return false, err
		}
		if f.Reconciles != last.Reconciles || f.Writes != last.Writes || f.Objects < objects {
			last, since = f, time.Now()
		}
		return time.Since(since) > 3*time.Second, nil
	})
	return last, err
}

// settle makes the objects and waits until the operator has given each what it wants. The memory is that of the process
// that did it, and that of one that started afterwards and found everything in place.
func (b *bench) settle(ctx context.Context) error {
	if err := b.leads(ctx); err != nil {
		return err
	}
	empty, err := b.one.figures(ctx, "?collect")
	if err != nil {
		return err
	}
	began := time.Now()
	err = b.each(ctx, func(ctx context.Context, i int) error {
		return b.client.Create(ctx, &Widget{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name(i)}, Spec: WidgetSpec{Value: "first"}})
	})
	if err != nil {
		return fmt.Errorf("make the objects: %w", err)
	}
	b.say("made %d objects", b.objects)
	f, err := b.quiet(ctx, b.objects)
	if err != nil {
		return err
	}
	b.report.Settling = &settlingFigure{Seconds: time.Since(began).Seconds() - 3, Reconciles: f.Reconciles, Gets: f.Gets, Writes: f.Writes}
	var made corev1.ConfigMapList
	if err := b.client.List(ctx, &made, client.InNamespace(namespace), client.MatchingLabels{"app.kubernetes.io/managed-by": operatorName}); err != nil {
		return fmt.Errorf("count the ConfigMaps: %w", err)
	}
	if len(made.Items) != b.objects {
		return fmt.Errorf("%d ConfigMaps for %d objects", len(made.Items), b.objects)
	}
	full, err := b.one.figures(ctx, "?collect")
	if err != nil {
		return err
	}
	b.one.stop()
	if b.one, err = startReplica(ctx, b.server.kubeconfig); err != nil {
		return err
	}
	if err := b.leads(ctx); err != nil {
		return err
	}
	if _, err := b.quiet(ctx, b.objects); err != nil {
		return err
	}
	fresh, err := b.one.figures(ctx, "?collect")
	if err != nil {
		return err
	}
	n := float64(b.objects)
	b.report.Memory = &memoryPart{
		EmptyHeapBytes: empty.HeapInUse, EmptyRSSBytes: empty.Resident,
		HeapInUseBytes: full.HeapInUse, RSSBytes: full.Resident,
		FreshHeapBytes: fresh.HeapInUse, FreshRSSBytes: fresh.Resident,
		HeapPerObjectByte: (float64(full.HeapInUse) - float64(empty.HeapInUse)) / n,
		RSSPerObjectByte:  (float64(full.Resident) - float64(empty.Resident)) / n,
	}
	return nil
}

// steady counts requests while nothing changes, and while every object gets an event that changes nothing that matters.
func (b *bench) steady(ctx context.Context) error {
	if err := b.one.reset(ctx); err != nil {
		return err
	}
	wait := time.NewTimer(b.idle)
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-wait.C:
	}
	idle, err := b.one.figures(ctx, "")
	if err != nil {
		return err
	}
	if err := b.one.reset(ctx); err != nil {
		return err
	}
	err = b.each(ctx, func(ctx context.Context, i int) error {
		w := &Widget{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name(i)}}
		return b.client.Patch(ctx, w, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"touched":"yes"}}}`)))
	})
	if err != nil {
		return fmt.Errorf("touch the objects: %w", err)
	}
	f, err := b.quiet(ctx, b.objects)
	if err != nil {
		return err
	}
	b.report.Steady = &steadyPart{
		IdleSeconds: b.idle.Seconds(), IdleWrites: idle.Writes, IdleGets: idle.Gets,
		Touched: b.objects, TouchedReconciles: f.Reconciles, TouchedWrites: f.Writes, TouchedGets: f.Gets,
		GetsPerReconcile: float64(f.Gets) / float64(f.Reconciles),
	}
	return nil
}

// change gives an object a new value.
func (b *bench) change(ctx context.Context, i int, value string) error {
	w := &Widget{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name(i)}}
	patch := fmt.Sprintf(`{"spec":{"value":%q,"sent":%d}}`, value, time.Now().UnixNano())
	return b.client.Patch(ctx, w, client.RawPatch("application/merge-patch+json", []byte(patch)))
}

// arrives waits until the object's ConfigMap has the value.
func (b *bench) arrives(ctx context.Context, i int, value string) error {
	return until(ctx, 20*time.Millisecond, func() (bool, error) {
		var cm corev1.ConfigMap
		err := b.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name(i)}, &cm)
		return err == nil && cm.Data["value"] == value, nil
	})
}

// queue sends events at an even pace, each a real change with two writes, whether or not the one before was answered.
func (b *bench) queue(ctx context.Context) error {
	for round := range b.rounds {
		if err := b.one.reset(ctx); err != nil {
			return err
		}
		part, err := b.round(ctx, fmt.Sprintf("round-%d", round))
		if err != nil {
			return err
		}
		b.report.Queue = append(b.report.Queue, part)
		b.say("queue p99 %.1f ms of %d", part.QueueMs.P99, part.QueueMs.Count)
	}
	return nil
}

func (b *bench) round(ctx context.Context, value string) (queuePart, error) {
	events := min(int(b.load.Seconds()*float64(b.perSecond)), b.objects)
	ticker := time.NewTicker(time.Second / time.Duration(b.perSecond))
	defer ticker.Stop()
	failures := make(chan error, events)
	var wg sync.WaitGroup
	began := time.Now()
	for i := range events {
		select {
		case <-ctx.Done():
			return queuePart{}, ctx.Err()
		case <-ticker.C:
		}
		// Spread over all objects.
		which := (b.next + i*7919) % b.objects
		wg.Go(func() {
			if err := b.change(ctx, which, value); err != nil {
				failures <- err
			}
		})
	}
	took := time.Since(began)
	wg.Wait()
	b.next += events
	close(failures)
	if err := <-failures; err != nil {
		return queuePart{}, fmt.Errorf("send an event: %w", err)
	}
	f, err := b.quiet(ctx, 1)
	if err != nil {
		return queuePart{}, err
	}
	return queuePart{Events: events, PerSecond: float64(events) / took.Seconds(),
		QueueMs: distributionOf(f.Queue), EndToEndMs: distributionOf(f.EndToEnd)}, nil
}

// killLeaders kills the leading process and waits until another has acted on what was changed at once.
func (b *bench) killLeaders(ctx context.Context) error {
	other, err := startReplica(ctx, b.server.kubeconfig)
	if err != nil {
		return err
	}
	defer other.stop()
	for k := range b.kills {
		// Both are up and warm, so that the standby is one as a cluster has it.
		leader, err := b.leader(ctx, b.one, other)
		if err != nil {
			return err
		}
		value := fmt.Sprintf("kill-%d", k)
		killed := leader.kill()
		if err := b.change(ctx, k%b.objects, value); err != nil {
			return fmt.Errorf("change an object: %w", err)
		}
		if err := b.arrives(ctx, k%b.objects, value); err != nil {
			return err
		}
		b.report.Kills = append(b.report.Kills, time.Since(killed).Seconds())
		b.say("taken over after %.2f s", time.Since(killed).Seconds())
	}
	d := distributionOf(b.report.Kills)
	b.report.Takeover = &d
	return nil
}

// leader waits until one of the two leads and the other has listed both kinds.
func (b *bench) leader(ctx context.Context, replicas ...*replica) (*replica, error) {
	var leader *replica
	err := until(ctx, 100*time.Millisecond, func() (bool, error) {
		leader = nil
		warm := 0
		for _, r := range replicas {
			f, err := r.figures(ctx, "")
			if err != nil {
				return false, nil //nolint:nilerr // It may not serve yet; until has a limit.
			}
			if f.Leads {
				leader = r
			}
			if f.Lists > 0 || f.Leads || f.Watches > 1 {
				warm++
			}
		}
		return leader != nil && warm == len(replicas), nil
	})
	if err != nil {
		return nil, err
	}
	// The standby's caches have begun to fill; the lists of this size take about a second.
	wait := time.NewTimer(5 * time.Second)
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-wait.C:
	}
	return leader, nil
}

// restarts kills the API server, starts it again, changes a hundred objects when it is ready, and waits until all of them
// have what they want.
func (b *bench) restarts(ctx context.Context) error {
	for round := range b.rounds {
		if err := b.leads(ctx); err != nil {
			return err
		}
		starts := b.one.count()
		killed, back, err := b.server.restart(ctx)
		if err != nil {
			return err
		}
		value := fmt.Sprintf("restart-%d", round)
		changed := min(100, b.objects)
		for i := range changed {
			if err := b.retried(ctx, i, value); err != nil {
				return err
			}
		}
		for i := range changed {
			if err := b.arrives(ctx, i, value); err != nil {
				return err
			}
		}
		ended := b.one.count() != starts
		if ended {
			// Then it has everything to look at again.
			err := until(ctx, 20*time.Millisecond, func() (bool, error) {
				f, err := b.one.figures(ctx, "")
				return err == nil && f.Objects >= b.objects, nil
			})
			if err != nil {
				return err
			}
		}
		p := restartPart{DownSeconds: back.Sub(killed).Seconds(), ConvergedSeconds: time.Since(back).Seconds(), OperatorEnded: ended}
		b.report.Restart = append(b.report.Restart, p)
		b.say("API server away for %.1f s, converged %.1f s later", p.DownSeconds, p.ConvergedSeconds)
		if err := b.save(b.report); err != nil {
			return err
		}
	}
	return nil
}

// retried changes an object; an API server that has just started may refuse at first.
func (b *bench) retried(ctx context.Context, i int, value string) error {
	return until(ctx, 50*time.Millisecond, func() (bool, error) { return b.change(ctx, i, value) == nil, nil })
}

// readyz asks the API server whether it is ready.
func (s *server) readyz(ctx context.Context) ([]byte, error) {
	cs, err := kubernetes.NewForConfig(s.env.Config)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	return cs.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
}
