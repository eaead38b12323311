//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/monitoring"
	"github.com/kapok-operators/kapok/operators/mysql/internal/protect"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

// archived is what the scenario about backups works on: a cluster with a target, the store, and a cluster that begins with what is stored.
type archived struct {
	ledger, again *scene
	store         *lab.Store
	// before is a moment at which the table was there that somebody drops.
	before time.Time
}

// TestBackups: a cluster with a target is backed up by itself, says what is missing, goes on through a failover, and a new cluster begins with it
// as of a moment before a mistake.
func TestBackups(t *testing.T) {
	if suite.lab.StoreImage == "" || suite.lab.PrometheusImage == "" {
		t.Skipf("CLUSTER=%s: STORE_IMAGE names no image with an S3 server, or PROMETHEUS_IMAGE none with Prometheus", suite.lab.Provider)
	}
	const namespace = "e2e-backup"
	cluster := func(name string) *scene { return &scene{Cluster: suite.lab.Cluster(namespace, name)} }
	a := &archived{ledger: cluster("ledger"), again: cluster("again"), store: suite.lab.Store(namespace)}
	discard(t, namespace)
	play(t, a.ledger,
		step{"without a store it works, and says what is missing", a.withoutStore},
		step{"when the store comes, it is backed up by itself", a.firstBackup},
		step{"a backup is taken when somebody asks, while clients write and the primary dies", a.onDemand},
		step{"what was committed is archived within a minute", a.mistake},
		step{"a new replica is made from what is stored", a.seed},
		step{"a new cluster begins as of before a mistake", a.restore},
		step{"a large transaction is no reason to replace a primary", largeTransaction},
		step{"what is stored is proven by a drill", a.proof},
		step{"alerts fire while writes are not archived, when the newest backup is old, and when a drill has failed", a.alerts},
		step{"what is stored goes with a MySQLBackup if its policy says so", a.deletion},
	)
}

func (a *archived) target() *mysqlv1.BackupTarget {
	return &mysqlv1.BackupTarget{S3: &mysqlv1.S3Target{
		Endpoint: a.store.Endpoint(), Region: lab.StoreRegion, Bucket: lab.StoreBucket, Prefix: "e2e", PathStyle: true,
		Credentials: mysqlv1.SecretReference{Name: lab.StoreSecret},
	}}
}

func (a *archived) withoutStore(ctx context.Context, t *testing.T, s *scene) {
	must(t, "load Prometheus", suite.lab.Load(ctx, strings.Fields(suite.lab.PrometheusArchive)...))
	must(t, "load the store", suite.lab.Load(ctx, strings.Fields(suite.lab.StoreArchive)...))
	must(t, "create the namespace", suite.lab.Namespace(ctx, s.Key.Namespace))
	must(t, "create", s.Create(ctx, mysqlv1.MySQLClusterSpec{Backup: &mysqlv1.Backup{Target: a.target(), Retention: 7}}))
	got(s.WaitHealthy(ctx, healthyTimeout, 1))(t, "become healthy")
	got(s.WaitCondition(ctx, time.Minute, mysqlv1.ConditionBackupReady, metav1.ConditionFalse, mysqlv1.ReasonStoreDenied))(t, "say that the Secret is missing")
}

func (a *archived) firstBackup(ctx context.Context, t *testing.T, s *scene) {
	must(t, "make the keys", a.store.Keys(ctx))
	must(t, "start the store", a.store.Start(ctx))
	// The kubelet looks for a Secret that was missing once a minute.
	got(s.WaitCondition(ctx, 5*time.Minute, mysqlv1.ConditionBackupReady, metav1.ConditionTrue, ""))(t, "be backed up")
	backups := got(a.backups(ctx))(t, "list the backups")
	if len(backups) != 1 || backups[0].Status.Phase != mysqlv1.BackupCompleted || backups[0].Status.Instance == lab.Primary(got(s.Get(ctx))(t, "read the cluster")) {
		t.Fatalf("not one backup of a replica: %+v", backups)
	}
	status := got(s.Get(ctx))(t, "read the cluster").Status.Backup
	if status == nil || status.LastFull != backups[0].Name || status.RestorableFrom == nil {
		t.Errorf("status.backup is %+v", status)
	}
}

func (a *archived) backups(ctx context.Context) ([]mysqlv1.MySQLBackup, error) {
	var list mysqlv1.MySQLBackupList
	err := suite.lab.Client.List(ctx, &list, client.InNamespace(a.ledger.Key.Namespace))
	return list.Items, err
}

// await waits for a phase of a MySQLBackup.
func (a *archived) await(ctx context.Context, timeout time.Duration, name string, phase mysqlv1.BackupPhase) (*mysqlv1.MySQLBackup, error) {
	var b mysqlv1.MySQLBackup
	err := suite.lab.Wait(ctx, timeout, fmt.Sprintf("MySQLBackup %s to be %s", name, phase), func(ctx context.Context) (bool, string, error) {
		if err := suite.lab.Client.Get(ctx, client.ObjectKey{Namespace: a.ledger.Key.Namespace, Name: name}, &b); err != nil {
			return lab.NotYet(err)
		}
		return b.Status.Phase == phase, fmt.Sprintf("%s: %s", b.Status.Phase, b.Status.Message), nil
	})
	return &b, err
}

func (a *archived) onDemand(ctx context.Context, t *testing.T, s *scene) {
	s.workload = got(s.StartWorkload(ctx, lab.WorkloadOptions{}))(t, "start a client")
	b := &mysqlv1.MySQLBackup{ObjectMeta: metav1.ObjectMeta{Namespace: s.Key.Namespace, Name: "by-hand"}}
	b.Spec.Cluster, b.Spec.DeletionPolicy = s.Key.Name, mysqlv1.DeletionDelete
	must(t, "ask for a backup", suite.lab.Client.Create(ctx, b))
	cluster := got(s.Get(ctx))(t, "read the cluster")
	must(t, "kill the primary", s.Signal(ctx, lab.Primary(cluster), "KILL"))
	got(s.WaitHealthy(ctx, healthyTimeout, lab.Epoch(cluster)+1))(t, "fail over")
	got(a.await(ctx, 5*time.Minute, "by-hand", mysqlv1.BackupCompleted))(t, "have the backup")
	verify(ctx, t, s)
}

// mistake drops a table, and remembers a moment at which it was there.
func (a *archived) mistake(ctx context.Context, t *testing.T, s *scene) {
	run := func(what, statement string) {
		t.Helper()
		primary := lab.Primary(got(s.Get(ctx))(t, "read the cluster"))
		got(s.AsRoot(ctx, primary, statement))(t, what)
	}
	run("write what will be missed", "CREATE TABLE app.kept (id INT PRIMARY KEY); INSERT INTO app.kept VALUES (1), (2), (3)")
	time.Sleep(2 * time.Second)
	a.before = time.Now()
	time.Sleep(2 * time.Second)
	run("make a mistake", "DROP TABLE app.kept")
	got(s.WaitFor(ctx, 3*time.Minute, "to be archived up to the mistake", func(c *mysqlv1.MySQLCluster) bool {
		return c.Status.Backup != nil && c.Status.Backup.RestorableTo != nil && c.Status.Backup.RestorableTo.After(a.before)
	}))(t, "archive")
	got(s.WaitCondition(ctx, time.Minute, mysqlv1.ConditionBackupReady, metav1.ConditionTrue, ""))(t, "be backed up")
}

// seed has one more replica for a while, which is not copied from the primary.
func (a *archived) seed(ctx context.Context, t *testing.T, s *scene) {
	scale := func(to int32) {
		t.Helper()
		must(t, "scale", s.Update(ctx, func(spec *mysqlv1.MySQLClusterSpec) { spec.Instances, spec.Backup.SeedReplicas = to, true }))
		got(s.WaitFor(ctx, healthyTimeout, "to have scaled", func(c *mysqlv1.MySQLCluster) bool {
			return lab.Healthy(c) && c.Status.ReadyInstances == to
		}))(t, "scale")
	}
	scale(4)
	var events eventsv1.EventList
	must(t, "list the events", suite.lab.Client.List(ctx, &events, client.InNamespace(s.Key.Namespace)))
	told := func(reason string) bool {
		return slices.ContainsFunc(events.Items, func(e eventsv1.Event) bool { return e.Reason == reason && e.Regarding.Name == s.Key.Name })
	}
	if !told("ReplicaSeeded") || told("ReplicaNotSeeded") {
		t.Error("the new replica was not made from a backup")
	}
	verify(ctx, t, s)
	scale(3)
}

// restore founds a cluster like the other on what is stored of it.
func (a *archived) restore(ctx context.Context, t *testing.T, s *scene) {
	must(t, "make the accounts' passwords", a.again.UsersSecret(ctx, lab.Account))
	to := metav1.NewTime(a.before)
	restore := &mysqlv1.MySQLRestore{ObjectMeta: metav1.ObjectMeta{Namespace: s.Key.Namespace, Name: "before-the-mistake"},
		Spec: mysqlv1.MySQLRestoreSpec{Backup: "by-hand", Cluster: a.again.Key.Name, To: &mysqlv1.RestorePoint{Time: &to}}}
	must(t, "ask for a restore", suite.lab.Client.Create(ctx, restore))
	must(t, "restore", suite.lab.Wait(ctx, healthyTimeout, "the restore", func(ctx context.Context) (bool, string, error) {
		if err := suite.lab.Client.Get(ctx, client.ObjectKeyFromObject(restore), restore); err != nil {
			return lab.NotYet(err)
		}
		return restore.Status.Phase == mysqlv1.RestoreCompleted, fmt.Sprintf("%s: %s", restore.Status.Phase, restore.Status.Message), nil
	}))
	suite.timeline.Log("  restored in %s", restore.Status.Took)
	restored := got(a.again.WaitHealthy(ctx, healthyTimeout+2*time.Minute, 1))(t, "become healthy")
	for _, instance := range restored.Status.Record.Voters {
		rows := got(a.again.AsRoot(ctx, instance, "SELECT GROUP_CONCAT(id ORDER BY id) FROM app.kept"))(t, "read what was missed")
		if !strings.Contains(rows, "1,2,3") {
			t.Errorf("%s holds %q", instance, rows)
		}
	}
	// Clients write to it as to any, with the password of its own Secret.
	a.again.workload = got(a.again.StartWorkload(ctx, lab.WorkloadOptions{Name: "workload-again"}))(t, "write to the restored cluster")
	verify(ctx, t, a.again)
}

// largeTransaction commits 96 MiB at once, which takes the replicas longer to receive than they may hear nothing of their primary.
func largeTransaction(ctx context.Context, t *testing.T, s *scene) {
	before := got(s.Get(ctx))(t, "read the cluster")
	const rows = 96 << 10
	got(s.AsRoot(ctx, lab.Primary(before), fmt.Sprintf("CREATE TABLE app.large (id INT AUTO_INCREMENT PRIMARY KEY, content VARBINARY(1024)); "+
		"SET cte_max_recursion_depth = %[1]d; INSERT INTO app.large (content) WITH RECURSIVE n AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM n "+
		"WHERE x < %[1]d) SELECT RANDOM_BYTES(1024) FROM n", rows)))(t, "commit a large transaction")
	if after := got(s.Get(ctx))(t, "read the cluster"); lab.Epoch(after) != lab.Epoch(before) {
		t.Errorf("the primary was replaced: epoch %d, before %d", lab.Epoch(after), lab.Epoch(before))
	}
	got(s.WaitHealthy(ctx, healthyTimeout, lab.Epoch(before)))(t, "be healthy")
}

// proof has a drill held: the first one, of what was stored before it was asked for.
func (a *archived) proof(ctx context.Context, t *testing.T, s *scene) {
	must(t, "ask for drills", s.Update(ctx, func(spec *mysqlv1.MySQLClusterSpec) { spec.Backup.Verify = &mysqlv1.Verify{Schedule: "0 5 * * 0"} }))
	got(s.WaitCondition(ctx, 5*time.Minute, mysqlv1.ConditionBackupProven, metav1.ConditionTrue, mysqlv1.ReasonDrillPassed))(t, "be proven")
	a.drilled(ctx, t, s)
}

// drill asks for one.
func (a *archived) drill(ctx context.Context, s *scene, request string) error {
	cluster, err := s.Get(ctx)
	if err != nil {
		return err
	}
	before := cluster.DeepCopy()
	metav1.SetMetaDataAnnotation(&cluster.ObjectMeta, mysqlv1.AnnotationDrill, request)
	return suite.lab.Client.Patch(ctx, cluster, client.MergeFrom(before))
}

// drilled waits until nothing is left of a drill, and returns what the cluster says of it.
func (a *archived) drilled(ctx context.Context, t *testing.T, s *scene) mysqlv1.DrillStatus {
	t.Helper()
	drill := suite.lab.Cluster(s.Key.Namespace, protect.DrillName(s.Key.Name))
	must(t, "remove the drill", suite.lab.Wait(ctx, 2*time.Minute, "the end of the drill", func(ctx context.Context) (bool, string, error) {
		if _, err := drill.Get(ctx); err == nil || !apierrors.IsNotFound(err) {
			return false, "its cluster is there", client.IgnoreNotFound(err)
		}
		volumes, err := drill.Volumes(ctx)
		return err == nil && len(volumes) == 0, fmt.Sprintf("its volumes: %v", volumes), err
	}))
	cluster := got(s.Get(ctx))(t, "read the cluster")
	if cluster.Status.Backup == nil || cluster.Status.Backup.Drill == nil {
		t.Fatalf("status.backup is %+v", cluster.Status.Backup)
	}
	d := *cluster.Status.Backup.Drill
	suite.timeline.Log("  drill: %s, %s", d.Result, d.Message)
	if d.Result == mysqlv1.DrillPassed && (d.Took == nil || d.Tables < 3) {
		t.Errorf("it has checked nothing: %+v", d)
	}
	return d
}

// unproven has a drill fail, because somebody removes it, and then one pass: of a backup that was taken with checksums.
func (a *archived) unproven(ctx context.Context, t *testing.T, s *scene, w *watched) {
	failed := alert{unproven, s.Key.Name, ""}
	must(t, "have a drill fail", w.fault(ctx, func() error {
		if err := a.drill(ctx, s, "one that fails"); err != nil {
			return err
		}
		if _, err := s.WaitFor(ctx, time.Minute, "to hold a drill", func(c *mysqlv1.MySQLCluster) bool {
			return c.Status.Backup != nil && c.Status.Backup.Drill != nil && c.Status.Backup.Drill.Request == "one that fails"
		}); err != nil {
			return err
		}
		return suite.lab.Client.Delete(ctx, &mysqlv1.MySQLCluster{ObjectMeta: metav1.ObjectMeta{Namespace: s.Key.Namespace, Name: protect.DrillName(s.Key.Name)}})
	}, func() error { return a.drill(ctx, s, "one that passes") }, 5*time.Minute, failed))
	if d := a.drilled(ctx, t, s); d.Result != mysqlv1.DrillPassed || d.Compared < 3 {
		t.Errorf("the drill has compared nothing: %+v", d)
	}
}

func (a *archived) deletion(ctx context.Context, t *testing.T, s *scene) {
	b := got(a.await(ctx, time.Second, "by-hand", mysqlv1.BackupCompleted))(t, "read the backup")
	must(t, "delete the backup", suite.lab.Client.Delete(ctx, b))
	must(t, "end", suite.lab.Wait(ctx, 2*time.Minute, "the end of the backup", func(ctx context.Context) (bool, string, error) {
		err := suite.lab.Client.Get(ctx, client.ObjectKeyFromObject(b), b)
		return apierrors.IsNotFound(err), b.Status.Message, client.IgnoreNotFound(err)
	}))
	got(s.WaitFor(ctx, time.Minute, "to have the two others", func(c *mysqlv1.MySQLCluster) bool { return c.Status.Backup != nil && c.Status.Backup.Fulls == 2 }))(t, "count")
}

// overdueLimit is how old the newest full backup may become in this scenario, in place of a day and more.
const overdueLimit = "60"

// alerts watches the cluster with the rules that the operator would make, and plays what those about backups are for.
func (a *archived) alerts(ctx context.Context, t *testing.T, s *scene) {
	cluster := got(s.Get(ctx))(t, "read the cluster")
	cluster.Spec.Backup.Schedule, cluster.Spec.Monitoring.ScrapeInterval = "0 2 * * *", &metav1.Duration{Duration: scrapeInterval}
	rule := monitoring.PrometheusRule(cluster)
	group := &rule.Spec.Groups[0]
	group.Rules = slices.DeleteFunc(group.Rules, func(r monitoringv1.Rule) bool { return r.Alert != exposed && r.Alert != overdue && r.Alert != unproven })
	for i := range group.Rules {
		before, _, isOverdue := strings.Cut(group.Rules[i].Expr.String(), "> "+fmt.Sprint(int(protect.Overdue(cluster.Spec.Backup).Seconds())))
		if isOverdue {
			group.Rules[i].Expr = intstr.FromString(before + "> " + overdueLimit)
		}
	}
	w := &watched{prometheus: got(suite.lab.StartPrometheus(ctx, s.Key.Namespace, lab.PrometheusOptions{
		Monitors: []*monitoringv1.PodMonitor{monitoring.PodMonitor(cluster)}, Rules: []*monitoringv1.PrometheusRule{got(lab.Hasten(rule, faster))(t, "hasten the rules")},
		Alertmanager: []byte("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"),
	}))(t, "start Prometheus")}
	must(t, "miss a backup", w.await(ctx, faultTimeout, true, alert{overdue, s.Key.Name, ""}))
	must(t, "ask for a backup", suite.lab.Client.Create(ctx, &mysqlv1.MySQLBackup{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Key.Namespace, Name: "in-time"}, Spec: mysqlv1.MySQLBackupSpec{Cluster: s.Key.Name},
	}))
	must(t, "miss none", w.await(ctx, faultTimeout, false, alert{overdue, s.Key.Name, ""}))

	got(a.await(ctx, 5*time.Minute, "in-time", mysqlv1.BackupCompleted))(t, "have a backup with checksums")
	a.unproven(ctx, t, s, w)

	s.workload = got(s.StartWorkload(ctx, lab.WorkloadOptions{Interval: 200 * time.Millisecond}))(t, "start a client")
	must(t, "expose writes", w.fault(ctx, func() error { return a.store.CutOff(ctx) }, func() error { return a.store.Reach(ctx) }, 2*faultTimeout,
		alert{exposed, s.Key.Name, ""}))
	got(s.WaitCondition(ctx, 3*time.Minute, mysqlv1.ConditionBackupReady, metav1.ConditionTrue, ""))(t, "be backed up again")
	verify(ctx, t, s)
}

// The alerts about backups.
const exposed, overdue, unproven = "MySQLArchiveExposed", "MySQLBackupOverdue", "MySQLBackupUnproven"
