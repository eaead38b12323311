package chaos

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/resource"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// Options say what a campaign does.
type Options struct {
	// Namespace and Name are the cluster that is made for it.
	Namespace, Name string
	// Seed and From say which rounds; Faults is how many faults to inject, Until when to begin no further round.
	Seed   uint64
	From   int
	Faults int
	Until  time.Time
	// Kinds are the faults to draw from; all that the cluster's provider can inject if empty.
	Kinds []Kind
	// Interval is a client's pause between two operations.
	Interval time.Duration
	// Image is mysqld's; empty takes the operator's choice. ClockImage says that its mysqld can be shown another time.
	Image      string
	ClockImage bool
	// Backup is what the cluster says about its backups; nil for none.
	Backup *mysqlv1.Backup
	// Prepare, if set, is called when the namespace is there, before the cluster is made.
	Prepare func(ctx context.Context) error
	// StorageClass is the class of the volumes; empty takes the cluster's own default.
	StorageClass string
	// Out is the folder for the raw history and the diagnoses.
	Out string
}

// Campaign is a cluster that is disturbed round by round.
type Campaign struct {
	Options
	// only are the kinds that were asked for; none for all.
	only      []Kind
	lab       *lab.Lab
	timeline  *lab.Timeline
	cluster   *lab.Cluster
	field     *field
	recorders []*lab.Recorder
	epochs    epochs
	raw       *rawHistory
	results   []Result
	// kept are the acknowledged members of all sets so far; in the end every one of them has to be there.
	kept map[string][]int64
}

// healthyTimeout bounds the making of the cluster, mendTimeout how long one that has missed its bound is given to come back
// before the campaign ends.
const (
	healthyTimeout = 6 * time.Minute
	mendTimeout    = 5 * time.Minute
)

// Open makes the cluster and its recorders.
func Open(ctx context.Context, l *lab.Lab, timeline *lab.Timeline, o Options) (*Campaign, error) {
	c := &Campaign{Options: o, lab: l, timeline: timeline, cluster: l.Cluster(o.Namespace, o.Name), kept: map[string][]int64{}}
	c.field = newField(c.cluster)
	if err := c.chooseKinds(); err != nil {
		return nil, err
	}
	if err := timeline.Step("create a cluster of three", func() error { return c.create(ctx) }); err != nil {
		return nil, err
	}
	err := timeline.Step("start a recorder on every node", func() (err error) {
		c.recorders, err = c.cluster.StartRecorders(ctx, o.Interval)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.raw, err = newRawHistory(filepath.Join(o.Out, "history.jsonl.gz"))
	return c, err
}

func (c *Campaign) chooseKinds() error {
	abilities := c.field.abilities()
	if c.ClockImage {
		abilities = append(abilities, NeedClock)
	}
	able := Kinds(abilities...)
	c.only = c.Kinds
	if len(c.Kinds) == 0 {
		c.Kinds = able
		return nil
	}
	for _, k := range c.Kinds {
		if !slices.Contains(able, k) {
			return fmt.Errorf("the fault %q is unknown, or cannot be injected here; these can: %v", k, able)
		}
	}
	return nil
}

func (c *Campaign) create(ctx context.Context) error {
	if err := c.lab.DeleteNamespace(ctx, c.Namespace, 3*time.Minute); err != nil {
		return err
	}
	if err := c.lab.Namespace(ctx, c.Namespace); err != nil {
		return err
	}
	if c.Prepare != nil {
		if err := c.Prepare(ctx); err != nil {
			return err
		}
	}
	pool := resource.MustParse("64Mi")
	spec := mysqlv1.MySQLClusterSpec{Instances: 3, BufferPoolSize: &pool, Storage: mysqlv1.Storage{Size: resource.MustParse("2Gi")}}
	spec.Image, spec.Backup = c.Image, c.Backup
	if c.StorageClass != "" {
		spec.Storage.StorageClassName = &c.StorageClass
	}
	if err := c.cluster.Create(ctx, spec); err != nil {
		return err
	}
	_, err := c.cluster.WaitHealthy(ctx, healthyTimeout, 1)
	return err
}

// Run runs rounds until enough faults were injected or the time is over. The error says that the campaign could not go on,
// not what was found.
func (c *Campaign) Run(ctx context.Context) (Summary, error) {
	faults := 0
	return c.play(ctx, func(done []Result, number int) (Round, bool) {
		if len(done) > 0 {
			faults += done[len(done)-1].counted()
		}
		r := Draw(c.Seed, c.From+number, c.Kinds)
		r.Only = c.only
		return r, faults < c.Faults && time.Now().Before(c.Until)
	})
}

// Play plays given rounds, in order.
func (c *Campaign) Play(ctx context.Context, rounds []Round) (Summary, error) {
	return c.play(ctx, func(_ []Result, number int) (Round, bool) {
		if number >= len(rounds) {
			return Round{}, false
		}
		return rounds[number], true
	})
}

// play plays the rounds that next gives, until it gives no more. What next is told are the results so far and how many rounds were
// played.
func (c *Campaign) play(ctx context.Context, next func(done []Result, number int) (Round, bool)) (Summary, error) {
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { c.epochs.follow(watching, c.cluster) })
	defer func() {
		stop()
		watch.Wait()
	}()
	err := c.rounds(ctx, next)
	if err == nil {
		err = c.keptAll(ctx)
	}
	return Summarize(c.Seed, c.From, c.results), errors.Join(err, c.raw.close())
}

func (c *Campaign) rounds(ctx context.Context, next func(done []Result, number int) (Round, bool)) error {
	faults := 0
	for number := 0; ; number++ {
		r, more := next(c.results, number)
		if !more {
			return nil
		}
		result, err := c.round(ctx, r)
		if err != nil {
			return fmt.Errorf("round %d (%s): %w", r.Number, r, err)
		}
		c.results = append(c.results, result)
		faults += result.counted()
		c.timeline.Log("%s", result.tell(faults))
		for _, problem := range result.problems() {
			c.timeline.Log("  ✗ %s", problem)
		}
		if err := c.afterwards(ctx, result); err != nil {
			return err
		}
	}
}

// afterwards writes down what was going on when something was found, and gives a cluster that missed its bound more time.
func (c *Campaign) afterwards(ctx context.Context, result Result) error {
	if len(result.problems()) == 0 {
		return nil
	}
	path, err := c.lab.DiagnoseTo(ctx, c.Namespace, filepath.Join(c.Out, result.Name()))
	if err != nil {
		c.timeline.Log("  what was going on could not be written: %v", err)
	} else {
		c.timeline.Log("  what was going on: %s", path)
	}
	c.timeline.Log("  again: %s", result.reproduce())
	if result.Converged {
		return nil
	}
	if _, err := c.cluster.WaitHealthy(ctx, mendTimeout, 1); err != nil {
		return fmt.Errorf("the cluster does not come back: %w", err)
	}
	return nil
}

// afterEach is how long the load runs on when the cluster is whole again.
const afterEach = 300 * time.Millisecond

// round disturbs the cluster once.
func (c *Campaign) round(ctx context.Context, r Round) (Result, error) {
	result := Result{Round: r}
	before, err := c.cluster.WaitHealthy(ctx, time.Minute, 1)
	if err != nil {
		return result, err
	}
	result.EpochBefore = lab.Epoch(before)
	sc, err := c.field.look(ctx)
	if err != nil {
		return result, err
	}
	began := history.Now()
	if err := c.each(ctx, func(ctx context.Context, rec *lab.Recorder) error { return rec.Begin(ctx, r.Name()) }); err != nil {
		return result, err
	}
	if err := sleep(ctx, r.Settle); err != nil {
		return result, err
	}
	if result.Injected, err = c.field.play(ctx, r, sc); err != nil {
		return result, err
	}
	if err := c.converge(ctx, &result); err != nil {
		return result, err
	}
	if err := sleep(ctx, afterEach); err != nil {
		return result, err
	}
	return result, c.judge(ctx, &result, began)
}

// last is when the round's last fault was over.
func (r Result) last() time.Duration {
	var last time.Duration
	for _, i := range r.Injected {
		last = max(last, i.Over)
	}
	return last
}

// first is the fault that was injected first, by both clocks.
func (r Result) first() (time.Duration, time.Time) {
	first := r.Injected[0]
	for _, i := range r.Injected[1:] {
		if i.Begun < first.Begun {
			first = i
		}
	}
	return first.Begun, first.begunAt
}

// converge waits until the cluster is whole again and takes writes. Not to be so within the bound is a finding, not an error.
func (c *Campaign) converge(ctx context.Context, result *Result) error {
	over := result.last()
	deadline := time.Now().Add(result.Bound() - (history.Now() - over))
	err := c.wholeAgain(ctx, over, time.Until(deadline))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	result.Whole, result.Converged = history.Now()-over, err == nil
	if err != nil {
		result.Seen = err.Error()
	}
	after, err := c.cluster.Get(ctx)
	if err != nil {
		return err
	}
	result.EpochAfter = lab.Epoch(after)
	return nil
}

// settledFor is how long the cluster has to stay whole: what was done a moment ago may not show yet.
const settledFor = 700 * time.Millisecond

func (c *Campaign) wholeAgain(ctx context.Context, over, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, max(within, time.Second))
	defer cancel()
	since := time.Time{}
	err := c.lab.Wait(ctx, within, c.Name+" to be whole", func(ctx context.Context) (bool, string, error) {
		cluster, err := c.cluster.Get(ctx)
		switch {
		case err != nil:
			since = time.Time{}
			return lab.NotYet(err)
		case !lab.Healthy(cluster):
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		}
		return !since.IsZero() && time.Since(since) >= settledFor, lab.Describe(cluster), nil
	})
	if err != nil {
		return err
	}
	left := func() time.Duration { return max(time.Second, within-(history.Now()-over)) }
	if err := c.lab.WaitOperator(ctx, left()); err != nil {
		return err
	}
	return c.each(ctx, func(ctx context.Context, rec *lab.Recorder) error { return rec.Acknowledged(ctx, over, left()) })
}

// each does something with every recorder at the same time.
func (c *Campaign) each(ctx context.Context, do func(ctx context.Context, rec *lab.Recorder) error) error {
	all, ctx := errgroup.WithContext(ctx)
	for _, rec := range c.recorders {
		all.Go(func() error { return do(ctx, rec) })
	}
	return all.Wait()
}
