package promtest_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/monitoring"
)

// program returns one of the programs under test.
func program(t *testing.T, name string) string {
	t.Helper()
	folder := os.Getenv("KAPOK_PROMETHEUS")
	if folder == "" {
		t.Fatal("KAPOK_PROMETHEUS does not name the folder of prometheus, promtool and prometheus-alertmanager; `make test` sets it")
	}
	return filepath.Join(folder, name)
}

func shop(interval time.Duration) *v1alpha1.MySQLCluster {
	return &v1alpha1.MySQLCluster{
		ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "trade", UID: "0b2f3c1e"},
		Spec: v1alpha1.MySQLClusterSpec{Instances: 3, Monitoring: v1alpha1.Monitoring{
			Exporter: v1alpha1.ExporterSidecar, ScrapeInterval: &metav1.Duration{Duration: interval},
		}, Backup: &v1alpha1.Backup{Schedule: "0 2 * * *", Verify: &v1alpha1.Verify{Schedule: "0 5 * * *"}, Target: &v1alpha1.BackupTarget{Volume: &v1alpha1.VolumeTarget{ClaimName: "backups"}}}},
	}
}

// rules writes the rules as Prometheus reads them, and returns the file.
func rules(t *testing.T, folder string, rule *monitoringv1.PrometheusRule) string {
	t.Helper()
	raw, err := yaml.Marshal(rule.Spec)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "rules.yaml")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// series is one series of a test: its samples come once an interval, in promtool's notation.
type series struct {
	Series string `json:"series"`
	Values string `json:"values"`
}

// moment says which of the alert's pods are to fire at a time.
type moment struct {
	at   time.Duration
	pods []string
}

// instance returns a series of one instance.
func instance(metric, pod, values string, more ...string) series {
	labels := append([]string{`namespace="trade"`, `mysql_cluster="shop"`, fmt.Sprintf("pod=%q", pod)}, more...)
	return series{metric + "{" + strings.Join(labels, ",") + "}", values}
}

// check has promtool play the series and compare at each moment which pods have the alert. An alert of the whole cluster has
// the pod "".
func check(t *testing.T, interval time.Duration, alert string, given []series, moments ...moment) {
	t.Helper()
	folder := t.TempDir()
	built := monitoring.PrometheusRule(shop(interval))
	var labels map[string]string
	for i := range built.Spec.Groups[0].Rules {
		rule := &built.Spec.Groups[0].Rules[i]
		// It is about when here, and promtool would compare the texts too.
		rule.Annotations = nil
		if rule.Alert == alert {
			labels = rule.Labels
		}
	}
	if labels == nil {
		t.Fatalf("there is no alert %s", alert)
	}
	rules(t, folder, built)
	var tests []map[string]any
	for _, m := range moments {
		expected := []map[string]any{}
		for _, pod := range m.pods {
			want := maps.Clone(labels)
			if pod != "" {
				want["pod"] = pod
			}
			expected = append(expected, map[string]any{"exp_labels": want})
		}
		tests = append(tests, map[string]any{"eval_time": m.at.String(), "alertname": alert, "exp_alerts": expected})
	}
	raw, err := yaml.Marshal(map[string]any{
		"rule_files": []string{"rules.yaml"}, "evaluation_interval": interval.String(),
		"tests": []map[string]any{{"interval": interval.String(), "input_series": given, "alert_rule_test": tests}},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "test.yaml")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program(t, "promtool"), "test", "rules", file).CombinedOutput()
	if err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

func TestRulesAreValid(t *testing.T) {
	file := rules(t, t.TempDir(), monitoring.PrometheusRule(shop(15*time.Second)))
	out, err := exec.Command(program(t, "promtool"), "check", "rules", "--lint=all", "--lint-fatal", file).CombinedOutput()
	if err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

const lag = "mysql_slave_status_seconds_behind_master"

// TestLagIsRaisedOnTheThirdProbe is the promise: over 60 s on three probes in a row raises the alert, exactly on the third.
func TestLagIsRaisedOnTheThirdProbe(t *testing.T) {
	for _, interval := range []time.Duration{15 * time.Second, 5 * time.Second, time.Minute} {
		probe := func(n int) time.Duration { return time.Duration(n) * interval }
		t.Run(interval.String(), func(t *testing.T) {
			for name, test := range map[string]struct {
				values  string
				moments []moment
			}{
				// Probes 4, 5 and 6 are over the limit, 7 is not.
				"two are nothing, the third fires, the next good one resolves": {"0 0 0 0 61 61 61 60 0 0 0", []moment{
					{probe(4), nil}, {probe(5), nil}, {probe(6), []string{"shop-1"}}, {probe(7), nil}, {probe(8), nil},
				}},
				// Between two probes nothing changes: neither early nor late.
				"it does not matter when one looks": {"0 0 0 0 61 61 61 60 0 0 0", []moment{
					{probe(5) + interval - time.Second, nil}, {probe(6) + time.Second, []string{"shop-1"}}, {probe(6) + interval - time.Second, []string{"shop-1"}},
					{probe(7) + time.Second, nil},
				}},
				"exactly sixty is not over sixty":       {"60 60 60 60 60 60 60", []moment{{probe(2), nil}, {probe(5), nil}}},
				"a good one in between begins anew":     {"61 61 30 61 61 30 61 61 61", []moment{{probe(2), nil}, {probe(4), nil}, {probe(7), nil}, {probe(8), []string{"shop-1"}}}},
				"a probe that failed is none":           {"61 61 _ 61 61 61 61", []moment{{probe(3), nil}, {probe(4), nil}, {probe(5), []string{"shop-1"}}}},
				"the first three of a new replica do":   {"_ _ 900 900 900", []moment{{probe(3), nil}, {probe(4), []string{"shop-1"}}}},
				"it stays as long as it is so":          {"61x30", []moment{{probe(2), []string{"shop-1"}}, {probe(15), []string{"shop-1"}}, {probe(29), []string{"shop-1"}}}},
				"an applier that stops says nothing":    {"61 61 stale _ _ _ _", []moment{{probe(2), nil}, {probe(3), nil}, {probe(5), nil}}},
				"a lag that ends with its pod resolves": {"61 61 61 61 stale _ _ _ _ _", []moment{{probe(3), []string{"shop-1"}}, {probe(5), nil}, {probe(6), nil}}},
				"a probe that is late changes nothing":  {"0 61 61 61 _ 61 61 60 _ 0", []moment{{probe(2), nil}, {probe(3), []string{"shop-1"}}, {probe(4), []string{"shop-1"}}, {probe(7), nil}, {probe(8), nil}}},
			} {
				t.Run(name, func(t *testing.T) {
					check(t, interval, "MySQLReplicationLagHigh", []series{
						instance(lag, "shop-1", test.values), instance(lag, "shop-2", "0x30"),
						// A neighbour of the same name in another namespace is none of this cluster's business.
						{lag + `{namespace="other",mysql_cluster="shop",pod="shop-1"}`, "900x30"},
					}, test.moments...)
				})
			}
		})
	}
}

// TestAlertsFireAndResolve plays the fault that each alert is for.
func TestAlertsFireAndResolve(t *testing.T) {
	const beat = 15 * time.Second
	minutes := func(n float64) time.Duration { return time.Duration(n * float64(time.Minute)) }
	writable := func(values ...string) []series {
		out := make([]series, len(values))
		for i, v := range values {
			out[i] = instance("kapok_mysql_agent_writable", fmt.Sprintf("shop-%d", i), v)
		}
		return out
	}
	running := instance("kapok_mysql_agent_state", "shop-1", "1x60", `state="Running"`)
	for name, test := range map[string]struct {
		alert   string
		given   []series
		moments []moment
	}{
		"a failover of one probe is no outage": {"MySQLNoPrimary", writable("1x10 0x50", "0x10 0 1x49"), []moment{{minutes(2.75), nil}, {minutes(3.5), nil}}},
		"nobody writes": {"MySQLNoPrimary", writable("1x10 0x7 1x20", "0x40"), []moment{
			{minutes(3), nil}, {minutes(3.5), []string{""}}, {minutes(5), nil},
		}},
		"nobody answers at all": {"MySQLNoPrimary", writable("1x10 stale _x40"), []moment{{minutes(2.5), nil}, {minutes(4), []string{""}}}},
		"blocked":               {"MySQLFailoverBlocked", append(writable("1x10 0x16 1x20", "0x60"), running), []moment{{minutes(4.5), nil}, {minutes(6), []string{""}}, {minutes(7.5), nil}}},
		"not blocked but gone":  {"MySQLFailoverBlocked", writable("1x10 0x50"), []moment{{minutes(9), nil}}},
		"down":                  {"MySQLDown", []series{instance("mysql_up", "shop-0", "1x10 0x10 1x10"), instance("mysql_up", "shop-1", "1x30")}, []moment{{minutes(3), nil}, {minutes(4), []string{"shop-0"}}, {minutes(6), nil}}},
		"missing": {"MySQLInstanceMissing", []series{
			instance("kapok_mysql_agent_ready", "shop-0", "1x60"), instance("kapok_mysql_agent_ready", "shop-1", "1x60"),
			instance("kapok_mysql_agent_ready", "shop-2", "1x10 stale _x25 1x20"),
		}, []moment{{minutes(6), nil}, {minutes(8.5), []string{""}}, {minutes(10), nil}}},
		"voters missing": {"MySQLNotRedundant", []series{
			instance("kapok_mysql_agent_attached_voters", "shop-0", "2x10 1x10 2x20"), instance("kapok_mysql_agent_required_acknowledgements", "shop-0", "1x60"),
			instance("kapok_mysql_agent_voters", "shop-0", "3x60"), instance("kapok_mysql_agent_writable", "shop-0", "1x60"),
		}, []moment{{minutes(2), nil}, {minutes(4), []string{"shop-0"}}, {minutes(5.5), nil}}},
		"two voters are redundant, one is not": {"MySQLNotRedundant", []series{
			instance("kapok_mysql_agent_attached_voters", "shop-0", "1x20 0x20"), instance("kapok_mysql_agent_required_acknowledgements", "shop-0", "1x60"),
			instance("kapok_mysql_agent_voters", "shop-0", "2x20 1x40"), instance("kapok_mysql_agent_writable", "shop-0", "1x60"),
		}, []moment{{minutes(5), nil}, {minutes(7), []string{"shop-0"}}}},
		// Half a minute later the one that is away votes no more, and one of the two that are left can be lost.
		"one replica of three is made up for": {"MySQLNotRedundant", []series{
			instance("kapok_mysql_agent_attached_voters", "shop-0", "2x10 1x50"), instance("kapok_mysql_agent_required_acknowledgements", "shop-0", "1x60"),
			instance("kapok_mysql_agent_voters", "shop-0", "3x12 2x50"), instance("kapok_mysql_agent_writable", "shop-0", "1x60"),
		}, []moment{{minutes(3), nil}, {minutes(4), nil}, {minutes(10), nil}}},
		"then the other one is lost as well": {"MySQLNotRedundant", []series{
			instance("kapok_mysql_agent_attached_voters", "shop-0", "2x10 1x10 0x40"), instance("kapok_mysql_agent_required_acknowledgements", "shop-0", "1x22 0x40"),
			instance("kapok_mysql_agent_voters", "shop-0", "3x12 2x10 1x40"), instance("kapok_mysql_agent_writable", "shop-0", "1x60"),
		}, []moment{{minutes(5), nil}, {minutes(7), []string{"shop-0"}}, {minutes(12), []string{"shop-0"}}}},
		"two of five are made up for, three are not": {"MySQLNotRedundant", []series{
			instance("kapok_mysql_agent_attached_voters", "shop-0", "4x10 2x20 1x30"), instance("kapok_mysql_agent_required_acknowledgements", "shop-0", "2x13 1x17 1x30"),
			instance("kapok_mysql_agent_voters", "shop-0", "5x12 4 3x47"), instance("kapok_mysql_agent_writable", "shop-0", "1x60"),
		}, []moment{{minutes(5), nil}, {minutes(7.5), nil}, {minutes(10), []string{"shop-0"}}}},
		"a primary that is drained is not judged": {"MySQLNotRedundant", []series{
			instance("kapok_mysql_agent_attached_voters", "shop-0", "0x60"), instance("kapok_mysql_agent_writable", "shop-0", "0x60"),
		}, []moment{{minutes(5), nil}}},
		"the receiver is cut off": {"MySQLReplicationStopped", []series{
			instance("kapok_mysql_agent_receiver_connected", "shop-1", "1x10 0x10 1x10"), instance("kapok_mysql_agent_applier_running", "shop-1", "1x30"),
		}, []moment{{minutes(3), nil}, {minutes(4), []string{"shop-1"}}, {minutes(5.5), nil}}},
		"commits wait": {"MySQLCommitsWait", []series{
			instance("kapok_mysql_agent_waiting_commits", "shop-0", "0 3 0 2x20 0x20"), instance("kapok_mysql_agent_executed_transactions", "shop-0", "5 6 7x30 8+1x20"),
		}, []moment{{minutes(1), nil}, {minutes(3), []string{"shop-0"}}, {minutes(6.5), nil}}},
		"a busy primary does not wait": {"MySQLCommitsWait", []series{
			instance("kapok_mysql_agent_waiting_commits", "shop-0", "2x60"), instance("kapok_mysql_agent_executed_transactions", "shop-0", "0+100x60"),
		}, []moment{{minutes(2), nil}, {minutes(10), nil}}},
		"errant": {"MySQLErrantTransactions", []series{instance("kapok_mysql_agent_errant_archives", "shop-2", "0x10 1x300", `pod_uid="a"`)}, []moment{{minutes(2), nil}, {minutes(3), []string{"shop-2"}}, {minutes(70), nil}}},
		"errant, replaced": {"MySQLErrantTransactions", []series{
			instance("kapok_mysql_agent_errant_archives", "shop-2", "0x10 stale", `pod_uid="a"`), instance("kapok_mysql_agent_errant_archives", "shop-2", "_x12 1x300", `pod_uid="b"`),
		}, []moment{{minutes(2), nil}, {minutes(4), []string{"shop-2"}}, {minutes(70), nil}}},
		"old archives are not news": {"MySQLErrantTransactions", []series{instance("kapok_mysql_agent_errant_archives", "shop-2", "3x300")}, []moment{{minutes(1), nil}, {minutes(30), nil}}},
		"sessions":                  {"MySQLConnectionsNearLimit", []series{instance("mysql_global_status_threads_connected", "shop-0", "80x4 81x20 10x10"), instance("mysql_global_variables_max_connections", "shop-0", "100x60")}, []moment{{minutes(1), nil}, {minutes(4), []string{"shop-0"}}, {minutes(7), nil}}},
		"little room":               {"MySQLVolumeFillingUp", []series{instance("kapok_mysql_agent_volume_free_bytes", "shop-0", "20x10 14x20 40x10"), instance("kapok_mysql_agent_volume_size_bytes", "shop-0", "100x60")}, []moment{{minutes(2), nil}, {minutes(6), []string{"shop-0"}}, {minutes(9), nil}}},
		"filling within hours":      {"MySQLVolumeFillingUp", []series{instance("kapok_mysql_agent_volume_free_bytes", "shop-0", "4900-5x300"), instance("kapok_mysql_agent_volume_size_bytes", "shop-0", "10000x300")}, []moment{{minutes(1), nil}, {minutes(40), []string{"shop-0"}}}},
		"filling slowly":            {"MySQLVolumeFillingUp", []series{instance("kapok_mysql_agent_volume_free_bytes", "shop-0", "4900-1x300"), instance("kapok_mysql_agent_volume_size_bytes", "shop-0", "10000x300")}, []moment{{minutes(40), nil}}},
		"stalled":                   {"MySQLVolumeStalled", []series{instance("kapok_mysql_agent_stalled", "shop-0", "0x10 1x10 0x10")}, []moment{{minutes(2.75), nil}, {minutes(4), []string{"shop-0"}}, {minutes(5.5), nil}}},
		"restarts":                  {"MySQLRestartsOften", []series{instance("kapok_mysql_agent_mysqld_starts_total", "shop-0", "1x40 2+1x4 6x200"), instance("kapok_mysql_agent_mysqld_starts_total", "shop-1", "1x100 2x200")}, []moment{{minutes(9), nil}, {minutes(15), []string{"shop-0"}}, {minutes(45), nil}}},
		"the archive waits": {"MySQLArchiveExposed", []series{instance("kapok_mysql_agent_archive_exposure_seconds", "shop-0", "0x8 15+15x20 0x20")}, []moment{
			{minutes(2.75), nil}, {minutes(5), []string{""}}, {minutes(9), nil},
		}},
		"a failover does not expose": {"MySQLArchiveExposed", []series{
			instance("kapok_mysql_agent_archive_exposure_seconds", "shop-0", "0x8 stale"), instance("kapok_mysql_agent_archive_exposure_seconds", "shop-1", "_x11 0x30"),
		}, []moment{{minutes(2.75), nil}, {minutes(5), nil}}},
		"nobody archives": {"MySQLArchiveExposed", []series{instance("kapok_mysql_agent_archive_exposure_seconds", "shop-0", "0x8 stale")}, []moment{{minutes(2.75), nil}, {minutes(5), []string{""}}}},
		// The night is at second zero: 30 hours later another one is missed.
		"a night without a backup": {"MySQLBackupOverdue", []series{instance("kapok_mysql_agent_newest_full_backup_timestamp_seconds", "shop-0", "0x7260 108000x200")}, []moment{
			{minutes(30 * 60), nil}, {minutes(30*60 + 10), []string{""}}, {minutes(30*60 + 20), nil},
		}},
		"a drill has failed": {"MySQLBackupUnproven", []series{instance("kapok_mysql_agent_drill_failed", "shop-0", "_x4 0x10 1x10 0x10")}, []moment{
			{minutes(3), nil}, {minutes(5), []string{""}}, {minutes(7), nil},
		}},
		"no drill passes any more": {"MySQLBackupUnproven", []series{
			instance("kapok_mysql_agent_drill_failed", "shop-0", "0x7500"), instance("kapok_mysql_agent_drill_passed_timestamp_seconds", "shop-0", "0x7260 108000x200"),
		}, []moment{{minutes(30*60 - 5), nil}, {minutes(30*60 + 5), []string{""}}, {minutes(30*60 + 20), nil}}},
		"no metrics": {"MySQLExporterDown", []series{instance("up", "shop-0", "1x10 0x30 1x10", `container="exporter"`), instance("up", "shop-0", "0x60", `container="mysql"`)}, []moment{{minutes(6), nil}, {minutes(8), []string{"shop-0"}}, {minutes(11), nil}}},
	} {
		t.Run(name, func(t *testing.T) { check(t, beat, test.alert, test.given, test.moments...) })
	}
}
