//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kapok-operators/kapok/hack/localcluster/netfault"
	"github.com/kapok-operators/kapok/hack/localcluster/provider"
	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

// faultTimeout is how long an alert may take to fire, or to end when its fault has ended; on a busy machine all takes longer.
const faultTimeout = 2 * time.Minute

// alert is one alert of a cluster, about one of its instances or (with no pod) about the whole.
type alert struct{ name, cluster, pod string }

func (a alert) String() string { return strings.TrimSpace(a.name + " of " + a.cluster + " " + a.pod) }

// is says whether labels are those of the alert.
func (a alert) is(labels map[string]string) bool {
	return labels["alertname"] == a.name && labels["mysql_cluster"] == a.cluster && labels["pod"] == a.pod
}

// await waits until the alert fires, or until it does not any more.
func (w *watched) await(ctx context.Context, timeout time.Duration, fires bool, alerts ...alert) error {
	started := time.Now()
	verb := "end"
	if fires {
		verb = "fire"
	}
	pending := map[alert]bool{}
	for _, a := range alerts {
		pending[a] = true
	}
	return suite.lab.Wait(ctx, timeout, fmt.Sprintf("%v to %s", alerts, verb), func(ctx context.Context) (bool, string, error) {
		active, err := w.prometheus.Alerts(ctx)
		if err != nil {
			return lab.NotYet(err)
		}
		for a := range pending {
			firing := false
			for _, one := range active {
				firing = firing || one.State == "firing" && a.is(one.Labels)
			}
			if firing == fires {
				delete(pending, a)
				suite.timeline.Log("  ★ %s: %ss after %s", a, verb, time.Since(started).Round(time.Second))
			}
		}
		return len(pending) == 0, "", nil
	})
}

// fault does something, waits until the alerts have fired, undoes it, and waits until they have ended.
func (w *watched) fault(ctx context.Context, do, undo func() error, timeout time.Duration, alerts ...alert) error {
	err := do()
	if err == nil {
		err = w.await(ctx, timeout, true, alerts...)
	}
	// What is undone must be undone whatever went wrong.
	if err := errors.Join(err, undo()); err != nil {
		return err
	}
	return w.await(ctx, timeout, false, alerts...)
}

// faults plays what each alert is for.
func (w *watched) faults(ctx context.Context, t *testing.T, _ *scene) {
	// It needs sessions on the primary that another fault takes.
	lag := got(w.holdUp(ctx))(t, "hold up a replica")
	var all sync.WaitGroup
	for what, track := range map[string]func(context.Context, *testing.T) error{
		"lag": lag, "restarts": w.restarts, "sessions": w.sessions, "quorum": w.quorum, "volume": w.volume,
	} {
		all.Go(func() {
			if err := track(ctx, t); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	// The others are over: this one meets an instance of each cluster that has one on the node.
	must(t, "cut a replica off", w.cutOff(ctx))
	must(t, "be quiet", suite.lab.Wait(ctx, faultTimeout, "the end of all alerts", func(ctx context.Context) (bool, string, error) {
		active, err := w.prometheus.Alerts(ctx)
		if err != nil {
			return lab.NotYet(err)
		}
		names := make([]string, len(active))
		for i, a := range active {
			names[i] = strings.TrimSpace(a.Labels["alertname"] + " " + a.Labels["pod"])
		}
		return len(active) == 0, strings.Join(names, ", "), nil
	}))
}

// replicas returns the voters beside the primary.
func replicas(cluster *mysqlv1.MySQLCluster) []string {
	var out []string
	for _, v := range cluster.Status.Record.Voters {
		if v != lab.Primary(cluster) {
			out = append(out, v)
		}
	}
	return out
}

// cast names the instances of a healthy cluster of three.
func cast(ctx context.Context, s *scene) (primary, first, second string, err error) {
	cluster, err := s.Get(ctx)
	if err != nil {
		return "", "", "", err
	}
	others := replicas(cluster)
	if len(others) != 2 {
		return "", "", "", fmt.Errorf("%s has the replicas %v, not two", s.Key.Name, others)
	}
	return lab.Primary(cluster), others[0], others[1], nil
}

// reportLasts is how long somebody reads a table on a replica: long enough for a lag of more than 60 s on three samples.
const reportLasts = 60*time.Second + 5*scrapeInterval

// holdUp lets a long report on a replica hold up a change of the table that it reads, and the replica with it. What it returns waits
// for the alert and its end.
func (w *watched) holdUp(ctx context.Context) (func(context.Context, *testing.T) error, error) {
	s := w.orders
	primary, replica, _, err := cast(ctx, s)
	if err != nil {
		return nil, err
	}
	if _, err := s.AsRoot(ctx, primary, "CREATE TABLE app.report (id INT PRIMARY KEY); INSERT INTO app.report VALUES (1)"); err != nil {
		return nil, err
	}
	err = s.Wait(ctx, 30*time.Second, "the table on "+replica, func(ctx context.Context) (bool, string, error) {
		found, err := s.AsRoot(ctx, replica, "SELECT COUNT(*) FROM app.report")
		return err == nil && strings.TrimSpace(found) == "1", "", nil
	})
	if err != nil {
		return nil, err
	}
	var report errgroup.Group
	report.Go(func() error {
		_, err := s.AsRoot(ctx, replica, fmt.Sprintf("SELECT SLEEP(%d) FROM app.report", int(reportLasts.Seconds())))
		return err
	})
	err = s.Wait(ctx, 30*time.Second, "the report on "+replica, func(ctx context.Context) (bool, string, error) {
		found, err := s.AsRoot(ctx, replica, "SELECT COUNT(*) FROM performance_schema.processlist WHERE INFO LIKE 'SELECT SLEEP%'")
		return err == nil && strings.TrimSpace(found) == "1", "", nil
	})
	if err == nil {
		_, err = s.AsRoot(ctx, primary, "ALTER TABLE app.report ADD COLUMN note INT")
	}
	return func(ctx context.Context, _ *testing.T) error {
		lag := alert{"MySQLReplicationLagHigh", s.Key.Name, replica}
		if err := errors.Join(w.await(ctx, reportLasts+faultTimeout, true, lag), report.Wait()); err != nil {
			return err
		}
		return w.await(ctx, faultTimeout, false, lag)
	}, err
}

// restarts: a replica is written to behind the operator's back and rebuilt, and then its mysqld is killed again and again.
func (w *watched) restarts(ctx context.Context, _ *testing.T) error {
	s := w.orders
	_, _, replica, err := cast(ctx, s)
	if err != nil {
		return err
	}
	errant := alert{"MySQLErrantTransactions", s.Key.Name, replica}
	// The agent may close the replica again before all of it is written; what was written before is errant all the same.
	_, refused := s.AsRoot(ctx, replica, errantStatements)
	if err := w.await(ctx, faultTimeout, true, errant); err != nil {
		return errors.Join(err, refused)
	}
	if _, err := s.WaitCondition(ctx, time.Minute, mysqlv1.ConditionConsistent, metav1.ConditionTrue, ""); err != nil {
		return err
	}
	node, err := s.NodeOf(ctx, replica)
	if err != nil {
		return err
	}
	for range 5 {
		err := s.Wait(ctx, 30*time.Second, "a mysqld of "+replica+" to kill", func(ctx context.Context) (bool, string, error) {
			// It may just be starting, or ending.
			if err := s.SignalOnNode(ctx, node, replica, lab.ProgramServer, "KILL"); err != nil {
				return lab.NotYet(err)
			}
			return true, "", nil
		})
		if err != nil {
			return err
		}
		time.Sleep(2 * time.Second) // for it to be started again
	}
	often := alert{"MySQLRestartsOften", s.Key.Name, replica}
	if err := w.await(ctx, faultTimeout, true, often); err != nil {
		return err
	}
	// They remember two minutes and one.
	return w.await(ctx, 2*faultTimeout, false, errant, often)
}

// sessions: clients take nearly all sessions of the primary.
func (w *watched) sessions(ctx context.Context, _ *testing.T) error {
	s := w.orders
	primary, _, _, err := cast(ctx, s)
	if err != nil {
		return err
	}
	var crowd *lab.Workload
	return w.fault(ctx, func() error {
		crowd, err = s.StartWorkload(ctx, lab.WorkloadOptions{Name: "crowd", Writers: sessionsLimit * 3 / 4, Interval: 2 * time.Second})
		return err
	}, func() error {
		if crowd == nil {
			return nil
		}
		return crowd.Remove(ctx)
	}, faultTimeout, alert{"MySQLConnectionsNearLimit", s.Key.Name, primary})
}

// quorum: a cluster of three loses a replica and then the other, has both stand still, and loses its primary and a replica.
func (w *watched) quorum(ctx context.Context, _ *testing.T) error {
	s := w.stock
	of := func(name, pod string) alert { return alert{name, s.Key.Name, pod} }
	for _, act := range []func(primary, first, second string) error{
		func(primary, first, second string) error { return w.oneByOne(ctx, s, primary, first, second) },
		func(primary, first, second string) error {
			// Their connections stay: were they gone, the primary would give itself up, and no commit would wait for long.
			return w.freeze(ctx, s, []string{first, second}, lab.ProgramServer, of("MySQLCommitsWait", primary), of("MySQLDown", first), of("MySQLDown", second))
		},
		func(primary, first, _ string) error {
			return w.takeAway(ctx, s, []string{primary, first},
				of("MySQLNoPrimary", ""), of("MySQLFailoverBlocked", ""))
		},
	} {
		if _, err := s.WaitHealthy(ctx, 2*time.Minute, 1); err != nil {
			return err
		}
		primary, first, second, err := cast(ctx, s)
		if err != nil {
			return err
		}
		if err := act(primary, first, second); err != nil {
			return err
		}
	}
	return nil
}

// oneByOne takes one replica of three away and, when the other two have been made redundant again, the other one. The alert for
// what cannot lose another instance must have ended by then: with the rules as users have them it would not even have begun.
func (w *watched) oneByOne(ctx context.Context, s *scene, primary, first, second string) error {
	of := func(name, pod string) alert { return alert{name, s.Key.Name, pod} }
	lonely := of("MySQLNotRedundant", primary)
	one, err := signaller(ctx, s, []string{first})
	if err != nil {
		return err
	}
	two, err := signaller(ctx, s, []string{second})
	if err != nil {
		return err
	}
	return w.fault(ctx, func() error {
		if err := lose(one); err != nil {
			return err
		}
		if err := w.await(ctx, faultTimeout, true, of("MySQLInstanceMissing", ""), of("MySQLDown", first)); err != nil {
			return err
		}
		err := s.Wait(ctx, faultTimeout, "two voters", func(ctx context.Context) (bool, string, error) {
			cluster, err := s.Get(ctx)
			if err != nil {
				return lab.NotYet(err)
			}
			return len(cluster.Status.Record.Voters) == 2, fmt.Sprint(cluster.Status.Record.Voters), nil
		})
		if err == nil {
			err = w.await(ctx, faultTimeout, false, lonely)
		}
		if err != nil {
			return err
		}
		return lose(two)
	}, func() error { return errors.Join(giveBack(one), giveBack(two)) },
		faultTimeout, lonely, of("MySQLInstanceMissing", ""), of("MySQLDown", first), of("MySQLDown", second))
}

// cutOff takes the databases of a replica's node off the network, but not their agents.
func (w *watched) cutOff(ctx context.Context) error {
	network, ok := suite.lab.Abilities().(provider.NetworkFaults)
	if !ok {
		return errors.New("this cluster's network cannot be disturbed")
	}
	for _, s := range []*scene{w.orders, w.stock} {
		if _, err := s.WaitHealthy(ctx, 2*time.Minute, 1); err != nil {
			return err
		}
	}
	primary, _, _, err := cast(ctx, w.orders)
	if err != nil {
		return err
	}
	spared, err := w.orders.NodeOf(ctx, primary)
	if err != nil {
		return err
	}
	_, victim, other, err := cast(ctx, w.stock)
	if err != nil {
		return err
	}
	node, err := w.stock.NodeOf(ctx, victim)
	if err == nil && node == spared {
		victim = other
		node, err = w.stock.NodeOf(ctx, victim)
	}
	if err != nil {
		return err
	}
	rule := netfault.Rule{Node: node, Peers: []string{netfault.Pods}, Ports: []int{3306}, Loss: 100}
	return w.fault(ctx, func() error { return network.Disturb(ctx, rule) }, func() error { return network.Heal(context.WithoutCancel(ctx), node) },
		faultTimeout, alert{"MySQLReplicationStopped", w.stock.Key.Name, victim})
}

// signaller sends a signal to a program of instances from their nodes.
func signaller(ctx context.Context, s *scene, instances []string) (func(program, signal string) error, error) {
	nodes := map[string]string{}
	for _, name := range instances {
		node, err := s.NodeOf(ctx, name)
		if err != nil {
			return nil, err
		}
		nodes[name] = node
	}
	return func(program, signal string) error {
		var all errgroup.Group
		for _, name := range instances {
			// What is undone must be undone whatever has become of the scenario.
			all.Go(func() error { return s.SignalOnNode(context.WithoutCancel(ctx), nodes[name], name, program, signal) })
		}
		return all.Wait()
	}, nil
}

// freeze lets a program of instances stand still until the alerts have fired.
func (w *watched) freeze(ctx context.Context, s *scene, victims []string, program string, alerts ...alert) error {
	send, err := signaller(ctx, s, victims)
	if err != nil {
		return err
	}
	return w.fault(ctx, func() error { return send(program, "STOP") }, func() error { return send(program, "CONT") }, faultTimeout, alerts...)
}

// lose kills the mysqlds of instances: with agents that stand still, nobody starts them again until giveBack.
func lose(send func(program, signal string) error) error {
	return errors.Join(send(lab.ProgramAgent, "STOP"), send(lab.ProgramServer, "KILL"))
}

func giveBack(send func(program, signal string) error) error { return send(lab.ProgramAgent, "CONT") }

// takeAway loses instances until the alerts have fired.
func (w *watched) takeAway(ctx context.Context, s *scene, victims []string, alerts ...alert) error {
	send, err := signaller(ctx, s, victims)
	if err != nil {
		return err
	}
	return w.fault(ctx, func() error { return lose(send) }, func() error { return giveBack(send) }, faultTimeout, alerts...)
}

// nearlyFull leaves a twentieth of the volume free, and emptied gives the room back.
const (
	nearlyFull = `{ data="$ROOT/var/lib/mysql"; set -- $(df -B1 --output=avail,size "$data" | tail -n 1); fallocate -l "$(($1 - $2 / 20))" "$data/forgotten"; }`
	emptied    = `rm -f "$ROOT/var/lib/mysql/forgotten"`
)

// volume: the exporter of an instance hangs, its volume is nearly filled, and then does not complete writes.
func (w *watched) volume(ctx context.Context, t *testing.T) error {
	s := w.notes
	disks, ok := suite.lab.Abilities().(provider.VolumeFaults)
	if !ok {
		return errors.New("this cluster's volumes cannot be stalled")
	}
	instance := s.Key.Name + "-0"
	node, err := s.NodeOf(ctx, instance)
	if err != nil {
		return err
	}
	volumes, err := s.Volumes(ctx)
	if err != nil {
		return err
	}
	of := func(name string) alert { return alert{name, s.Key.Name, instance} }
	onNode := func(command string) func() error {
		return func() error { return errOf(s.OnNode(ctx, node, instance, lab.ProgramAgent, command)) }
	}
	err = w.fault(ctx, func() error { return s.SignalExporter(ctx, instance, "STOP") }, func() error { return s.SignalExporter(ctx, instance, "CONT") },
		faultTimeout, of("MySQLExporterDown"))
	if err != nil {
		return err
	}
	if err := w.fault(ctx, onNode(nearlyFull), onNode(emptied), faultTimeout, of("MySQLVolumeFillingUp")); err != nil {
		return err
	}
	release := func() error { return disks.Release(context.WithoutCancel(ctx), node, volumes[instance]) }
	t.Cleanup(func() { _ = release() })
	return w.fault(ctx, func() error { return disks.Stall(ctx, node, volumes[instance]) }, release, faultTimeout, of("MySQLVolumeStalled"))
}

// thirdSample looks at what Prometheus has recorded: when the lag alert fired, exactly three samples in a row over the limit
// had come in, and none before them.
func (w *watched) thirdSample(ctx context.Context, t *testing.T, s *scene) {
	const limit = 60
	fired := got(w.prometheus.Query(ctx, fmt.Sprintf(`ALERTS{alertname="MySQLReplicationLagHigh",alertstate="firing",mysql_cluster=%q}[15m]`, s.Key.Name)))(t, "read the alert")
	if len(fired) != 1 || len(fired[0].Values) == 0 {
		t.Fatalf("it fired for %d replicas, want one", len(fired))
	}
	at, pod := fired[0].Values[0].At, fired[0].Metric["pod"]
	of := func(metric string) []lab.Point {
		t.Helper()
		found := got(w.prometheus.Query(ctx, fmt.Sprintf(`%s{mysql_cluster=%q,pod=%q,endpoint="metrics"}[15m]`, metric, s.Key.Name, pod)))(t, "read the samples")
		if len(found) != 1 {
			t.Fatalf("%d series of %s", len(found), metric)
		}
		return found[0].Values
	}
	took := map[int64]time.Duration{}
	for _, p := range of("scrape_duration_seconds") {
		took[p.At.UnixMilli()] = time.Duration(p.Value * float64(time.Second))
	}
	row := 0
	for _, p := range of("mysql_slave_status_seconds_behind_master") {
		// A sample has the time at which its scrape began, and is there when that has ended.
		in := p.At.Add(took[p.At.UnixMilli()])
		if in.After(at) {
			break
		}
		if p.Value > limit {
			row++
		} else {
			row = 0
		}
		suite.timeline.Log("  %s before it fired: %v s behind, sample %d over the limit", at.Sub(in).Round(time.Millisecond), p.Value, row)
	}
	if row != 3 {
		t.Errorf("it fired when %d samples in a row were over the limit, want 3", row)
	}
}

// told reads what Alertmanager has sent: of each alert that it began and that it ended, and to the robot what a robot takes.
func (w *watched) told(ctx context.Context, t *testing.T, _ *scene) {
	want := map[string]bool{}
	for _, r := range got(w.prometheus.Query(ctx, `count by (alertname) (last_over_time(ALERTS{alertstate="firing"}[15m]))`))(t, "list what fired") {
		want[r.Metric["alertname"]] = true
	}
	if len(want) != 14 {
		t.Errorf("%d alerts fired, want all 14: %v", len(want), want)
	}
	must(t, "be told", suite.lab.Wait(ctx, time.Minute, "the notifications", func(ctx context.Context) (bool, string, error) {
		sent, err := w.prometheus.Notifications(ctx)
		if err != nil {
			return lab.NotYet(err)
		}
		var missing []string
		for name := range want {
			for _, status := range []string{"firing", "resolved"} {
				if !told(t, sent, name, status) {
					missing = append(missing, name+" "+status)
				}
			}
		}
		return len(missing) == 0, fmt.Sprintf("nobody was told of %v", missing), nil
	}))
	messages := 0
	for _, n := range got(w.prometheus.Notifications(ctx))(t, "read the notifications") {
		if !strings.HasPrefix(n.Path, "/cgi-bin/webhook/send") {
			continue
		}
		var message struct {
			Msgtype  string
			Markdown struct{ Content string }
		}
		if err := json.Unmarshal([]byte(n.Body), &message); err != nil || message.Msgtype != "markdown" || message.Markdown.Content == "" || len(message.Markdown.Content) > 4096 {
			t.Errorf("a robot does not take %s (%v)", n.Body, err)
		}
		messages++
	}
	if messages == 0 {
		t.Error("the robot was sent nothing")
	}
	suite.timeline.Log("  the robot was sent %d messages", messages)
}

// told says whether a notification says so of an alert.
func told(t *testing.T, sent []lab.Notification, name, status string) bool {
	t.Helper()
	for _, n := range sent {
		if n.Path != "/plain" {
			continue
		}
		var body struct {
			Alerts []struct {
				Status string
				Labels map[string]string
			}
		}
		must(t, "read a notification", json.Unmarshal([]byte(n.Body), &body))
		for _, a := range body.Alerts {
			if a.Status == status && a.Labels["alertname"] == name {
				return true
			}
		}
	}
	return false
}
