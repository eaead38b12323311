package chaos

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
	"github.com/kapok-operators/kapok/shared/testkit/history"
)

const (
	// ballastMiB is what is in the database besides, so that a copy takes long enough to be hit at each of its steps.
	ballastMiB = 128
	// backupTimeout bounds a backup with all its attempts, restoreTimeout a restore.
	backupTimeout  = 15 * time.Minute
	restoreTimeout = 10 * time.Minute
	// lookAtStep is the time between two looks at how far something is.
	lookAtStep = 40 * time.Millisecond
	// missStep is how long a step is waited for that may be too short to be seen.
	missStep = 20 * time.Second
	// afterBackup is how long clients go on writing when a backup is over.
	afterBackup = 4 * time.Second
	// archivedWithin bounds how long the archive may take, once all is whole again.
	archivedWithin = 5 * time.Minute
	// clocks is how exactly the two clocks are compared.
	clocks = 5 * time.Millisecond
)

// Protection is a campaign that disturbs backups and restores.
type Protection struct {
	*Campaign
	store *lab.Store
	// first is the name of the first backup: whatever is restored is later than that.
	first string
}

// OpenProtection makes a store, and a cluster that is backed up there.
func OpenProtection(ctx context.Context, l *lab.Lab, timeline *lab.Timeline, o Options) (*Protection, error) {
	store := l.Store(o.Namespace)
	o.Backup = &mysqlv1.Backup{Retention: 7, Target: &mysqlv1.BackupTarget{S3: &mysqlv1.S3Target{
		Endpoint: store.Endpoint(), Region: lab.StoreRegion, Bucket: lab.StoreBucket, Prefix: "chaos", PathStyle: true,
		Credentials: mysqlv1.SecretReference{Name: lab.StoreSecret},
	}}}
	o.Prepare = func(ctx context.Context) error {
		if err := l.Load(ctx, strings.Fields(l.StoreArchive)...); err != nil {
			return err
		}
		return errors.Join(store.Keys(ctx), store.Start(ctx))
	}
	c, err := Open(ctx, l, timeline, o)
	if err != nil {
		return nil, err
	}
	p := &Protection{Campaign: c, store: store}
	return p, timeline.Step(fmt.Sprintf("write %d MiB, and wait for the first backup", ballastMiB), func() error { return p.fill(ctx) })
}

// fill writes the ballast.
func (p *Protection) fill(ctx context.Context) error {
	cluster, err := p.cluster.Get(ctx)
	if err != nil {
		return err
	}
	// What is random cannot be compressed.
	statements := fmt.Sprintf("CREATE TABLE app.ballast (id INT AUTO_INCREMENT PRIMARY KEY, content VARBINARY(1024)); SET cte_max_recursion_depth = %[1]d; "+
		"INSERT INTO app.ballast (content) WITH RECURSIVE n AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM n WHERE x < %[1]d) SELECT RANDOM_BYTES(1024) FROM n",
		ballastMiB<<10)
	if _, err := p.cluster.AsRoot(ctx, lab.Primary(cluster), statements); err != nil {
		return fmt.Errorf("write the ballast: %w", err)
	}
	// It is one transaction, and a large one is no reason to replace a primary.
	after, err := p.cluster.Get(ctx)
	if err != nil {
		return err
	}
	if lab.Epoch(after) != lab.Epoch(cluster) {
		return fmt.Errorf("the primary was replaced while the ballast was written: epoch %d, before %d", lab.Epoch(after), lab.Epoch(cluster))
	}
	if _, err := p.cluster.WaitCondition(ctx, healthyTimeout, mysqlv1.ConditionBackupReady, metav1.ConditionTrue, ""); err != nil {
		return err
	}
	if cluster, err = p.cluster.Get(ctx); err != nil {
		return err
	}
	p.first = cluster.Status.Backup.LastFull
	return nil
}

// Run runs rounds until there are as many as are asked for, or the time is over. The error says that the campaign could not go on, not what was found.
func (p *Protection) Run(ctx context.Context) (ProtectionSummary, error) {
	watching, stop := context.WithCancel(ctx)
	var watch errgroup.Group
	watch.Go(func() error { p.epochs.follow(watching, p.cluster); return nil })
	var results []ProtectionResult
	var err error
	for number := p.From; number < p.From+p.Faults && time.Now().Before(p.Until); number++ {
		var r ProtectionResult
		if r, err = p.round(ctx, DrawProtection(p.Seed, number)); err != nil {
			err = fmt.Errorf("round %d (%s): %w", number, r.ProtectionRound, err)
			break
		}
		results = append(results, r)
		p.timeline.Log("%s", r.tell())
		for _, problem := range r.problems() {
			p.timeline.Log("  ✗ %s", problem)
		}
	}
	stop()
	_ = watch.Wait()
	return SummarizeProtection(p.Seed, p.From, results), errors.Join(err, p.raw.close())
}

// round takes a backup and restores one, and disturbs both.
func (p *Protection) round(ctx context.Context, r ProtectionRound) (ProtectionResult, error) {
	result := ProtectionResult{ProtectionRound: r}
	if _, err := p.cluster.WaitHealthy(ctx, mendTimeout, 1); err != nil {
		return result, err
	}
	began := history.Now()
	if err := p.each(ctx, func(ctx context.Context, rec *lab.Recorder) error { return rec.Begin(ctx, r.Name()) }); err != nil {
		return result, err
	}
	if err := p.backup(ctx, &result); err != nil {
		return result, err
	}
	// The history goes on behind the backup.
	if err := sleep(ctx, afterBackup); err != nil {
		return result, err
	}
	// A moment of the chapter, by both clocks.
	wall, mono := time.Now(), history.Now()
	at := began + time.Duration(float64(mono-began)*r.Moment)
	if _, err := p.cluster.WaitHealthy(ctx, mendTimeout, 1); err != nil {
		result.say("the cluster is not whole: " + err.Error())
		return result, err
	}
	if err := sleep(ctx, afterEach); err != nil {
		return result, err
	}
	whole := Result{Round: Round{Seed: r.Seed, Number: r.Number}}
	if err := p.judge(ctx, &whole, began); err != nil {
		return result, err
	}
	result.Verdict = whole.Verdict
	ops, err := p.gather(ctx, r.Name())
	if err != nil {
		return result, err
	}
	return result, p.restore(ctx, &result, ops, at, wall.Add(at-mono))
}

// backup takes a full backup, and disturbs it at a step.
func (p *Protection) backup(ctx context.Context, result *ProtectionResult) error {
	b := &mysqlv1.MySQLBackup{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: result.Name()}, Spec: mysqlv1.MySQLBackupSpec{Cluster: p.Name}}
	if err := p.lab.Client.Create(ctx, b); err != nil {
		return fmt.Errorf("ask for a backup: %w", err)
	}
	look := func(ctx context.Context) (step string, over bool, err error) {
		if err := p.lab.Client.Get(ctx, client.ObjectKeyFromObject(b), b); err != nil {
			return "", false, err
		}
		over = b.Status.Phase == mysqlv1.BackupCompleted || b.Status.Phase == mysqlv1.BackupFailed
		return backupStep(b.Status), over, nil
	}
	began := time.Now()
	err := p.disturb(ctx, &result.Backup, look, func(ctx context.Context, fault ProtectionFault) (undo, error) {
		return p.inject(ctx, fault, b.Status.Instance)
	})
	if err != nil {
		return err
	}
	if err := p.over(ctx, backupTimeout, "the backup", look); err != nil {
		result.say(fmt.Sprintf("the backup did not end: %v", err))
		return ctx.Err()
	}
	result.Backup.Took, result.Backup.Attempts = time.Since(began), b.Status.Attempt
	if b.Status.Phase == mysqlv1.BackupFailed {
		result.say("the backup was given up: " + b.Status.Message)
	}
	return nil
}

// restore brings the cluster back as of a moment, disturbs that at a step, and judges what is there.
func (p *Protection) restore(ctx context.Context, result *ProtectionResult, ops []history.Operation, mono time.Duration, wall time.Time) error {
	target, to, err := p.target(ctx, result.Newest, mono, wall)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("again-%d", result.Number)
	again := p.lab.Cluster(p.Namespace, name)
	restore := &mysqlv1.MySQLRestore{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: name}, Spec: mysqlv1.MySQLRestoreSpec{
		Backup: p.first, Cluster: name, To: to, Template: p.template(),
	}}
	if err := p.lab.Client.Create(ctx, restore); err != nil {
		return fmt.Errorf("ask for a restore: %w", err)
	}
	look := func(ctx context.Context) (step string, over bool, err error) {
		if err := p.lab.Client.Get(ctx, client.ObjectKeyFromObject(restore), restore); err != nil {
			return "", false, err
		}
		over = restore.Status.Phase == mysqlv1.RestoreCompleted || restore.Status.Phase == mysqlv1.RestoreFailed
		cluster, err := again.Get(ctx)
		if err != nil {
			return "asked", over, client.IgnoreNotFound(err)
		}
		return restoreStep(cluster), over, nil
	}
	began := time.Now()
	err = p.disturb(ctx, &result.Restore, look, func(ctx context.Context, fault ProtectionFault) (undo, error) {
		return p.inject(ctx, fault, name+"-0")
	})
	if err != nil {
		return err
	}
	if err := p.over(ctx, restoreTimeout, "the restore", look); err != nil || restore.Status.Phase != mysqlv1.RestoreCompleted {
		result.say(fmt.Sprintf("the restore did not come to its end: %s: %s", restore.Status.Phase, restore.Status.Message))
		if _, err := p.lab.DiagnoseTo(ctx, p.Namespace, p.Out+"/"+result.Name()); err != nil {
			p.timeline.Log("  what was going on could not be written: %v", err)
		}
		return p.discard(ctx, restore)
	}
	result.Restore.Took, result.Restore.Attempts = time.Since(began), 1
	// The fault may have met it when it took writes already, and then it comes back.
	var restored lab.FinalState
	err = p.lab.Wait(ctx, mendTimeout, name+" to be read", func(ctx context.Context) (bool, string, error) {
		if restored, err = read(ctx, again, name+"-0", result.Name()); err != nil {
			return lab.NotYet(err)
		}
		return true, "", nil
	})
	if err != nil {
		return err
	}
	result.Restored = JudgeRestored(ops, restored, target)
	return p.discard(ctx, restore)
}

// target is what a restore is asked for, and what is to be there.
func (p *Protection) target(ctx context.Context, newest bool, mono time.Duration, wall time.Time) (Target, *mysqlv1.RestorePoint, error) {
	if !newest {
		second := metav1.NewTime(wall.Truncate(time.Second))
		// All of that second.
		until := mono + second.Add(time.Second).Sub(wall)
		return Target{Must: until - clocks, MayUntil: until + clocks}, &mysqlv1.RestorePoint{Time: &second}, nil
	}
	// What was promised is told to the minute.
	var told time.Time
	_, err := p.cluster.WaitFor(ctx, archivedWithin, "to have archived the round", func(c *mysqlv1.MySQLCluster) bool {
		if b := c.Status.Backup; b != nil && b.RestorableTo != nil {
			told = b.RestorableTo.Time
		}
		return told.After(wall)
	})
	return Target{Must: mono + told.Sub(wall)}, nil, err
}

// template is the cluster that a restore makes: one instance that takes little, and goes with its volume.
func (p *Protection) template() *runtime.RawExtension {
	class := ""
	if p.StorageClass != "" {
		class = fmt.Sprintf(`,"storageClassName":%q`, p.StorageClass)
	}
	return &runtime.RawExtension{Raw: fmt.Appendf(nil, `{"instances":1,"bufferPoolSize":"64Mi","storage":{"size":"2Gi"%s},`+
		`"resources":{"requests":{"cpu":"50m","memory":"512Mi"}},"monitoring":{"exporter":"None"},"deletionPolicy":"Delete"}`, class)}
}

// discard removes a restore and its cluster.
func (p *Protection) discard(ctx context.Context, restore *mysqlv1.MySQLRestore) error {
	cluster := &mysqlv1.MySQLCluster{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: restore.Spec.Cluster}}
	for _, o := range []client.Object{restore, cluster} {
		if err := client.IgnoreNotFound(p.lab.Client.Delete(ctx, o)); err != nil {
			return fmt.Errorf("remove the restored cluster: %w", err)
		}
	}
	return nil
}

// disturb waits until something is at the step of a fault, injects it, holds and ends it. A step that is not seen in time is missed: the fault comes then.
func (p *Protection) disturb(ctx context.Context, d *Disturbed, look func(context.Context) (string, bool, error),
	inject func(context.Context, ProtectionFault) (undo, error),
) error {
	for deadline := time.Now().Add(missStep); ; {
		step, over, err := look(ctx)
		if err == nil {
			d.At = step
		}
		if err == nil && (step == d.Step || over) || time.Now().After(deadline) {
			break
		}
		if err := sleep(ctx, lookAtStep); err != nil {
			return err
		}
	}
	limited, cancel := context.WithTimeout(ctx, injectTimeout)
	defer cancel()
	end, err := inject(limited, d.Fault)
	if err != nil {
		d.Failed = err.Error()
	} else if err := sleep(ctx, d.Hold); err != nil {
		return err
	}
	if end == nil {
		return nil
	}
	return p.field.end(ctx, Fault{Kind: Kind(d.Fault)}, end)
}

// over waits for the end of something.
func (p *Protection) over(ctx context.Context, timeout time.Duration, what string, look func(context.Context) (string, bool, error)) error {
	return p.lab.Wait(ctx, timeout, what, func(ctx context.Context) (bool, string, error) {
		step, over, err := look(ctx)
		if err != nil {
			return lab.NotYet(err)
		}
		return over, step, nil
	})
}

// inject begins a fault. The victim is the instance that takes the backup, or restores.
func (p *Protection) inject(ctx context.Context, fault ProtectionFault, victim string) (undo, error) {
	sc, err := p.field.look(ctx)
	if err != nil {
		return nil, err
	}
	if sc.nodes[victim] == "" {
		if sc.nodes[victim], err = p.lab.Cluster(p.Namespace, strings.TrimSuffix(victim, "-0")).NodeOf(ctx, victim); err != nil && fault.meetsVictim() {
			return nil, err
		}
	}
	switch fault {
	case DonorServer:
		return nothing, p.field.signal(ctx, sc, victim, lab.ProgramServer, "KILL")
	case DonorAgent:
		return nothing, p.field.signal(ctx, sc, victim, lab.ProgramAgent, "KILL")
	case DonorPod:
		return nothing, p.lab.DeletePod(ctx, p.Namespace, victim)
	case PrimaryServer:
		return nothing, p.field.signal(ctx, sc, sc.primary, lab.ProgramServer, "KILL")
	case PrimaryPod:
		return nothing, p.lab.DeletePod(ctx, p.Namespace, sc.primary)
	case HandOver:
		return nothing, p.cluster.Switchover(ctx, mysqlv1.SwitchoverAny)
	case Leader:
		return nothing, p.lab.DeletePod(ctx, lab.OperatorNamespace, sc.leader)
	case StoreKilled:
		return nothing, p.store.Signal(ctx, "KILL")
	case StoreFrozen:
		return func(ctx context.Context) error { return p.store.Signal(ctx, "CONT") }, p.store.Signal(ctx, "STOP")
	case StoreAway:
		return p.store.Reach, p.store.CutOff(ctx)
	}
	return nil, fmt.Errorf("nobody knows how to inject %q", fault)
}

// read reads what an instance holds of a chapter.
func read(ctx context.Context, c *lab.Cluster, instance, chapter string) (lab.FinalState, error) {
	state := lab.FinalState{Lists: map[string][]int64{}}
	sets, err := c.AsRoot(ctx, instance, "SELECT value FROM app.kapok_set WHERE chapter = '"+chapter+"' ORDER BY value")
	if err != nil {
		return state, fmt.Errorf("read the restored set: %w", err)
	}
	if state.Set, err = numbers(strings.Fields(sets)); err != nil {
		return state, err
	}
	lists, err := c.AsRoot(ctx, instance, "SELECT object, items FROM app.kapok_list WHERE object LIKE '"+chapter+"/%'")
	if err != nil {
		return state, fmt.Errorf("read the restored lists: %w", err)
	}
	for line := range strings.Lines(lists) {
		object, items, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if state.Lists[object], err = numbers(strings.FieldsFunc(items, func(r rune) bool { return r == ',' })); err != nil {
			return state, err
		}
	}
	return state, nil
}

func numbers(fields []string) ([]int64, error) {
	out := make([]int64, 0, len(fields))
	for _, f := range fields {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read a restored value: %w", err)
		}
		out = append(out, n)
	}
	return out, nil
}
