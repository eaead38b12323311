package monitoring_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/monitoring"
	"github.com/kapok-operators/kapok/shared/testkit"
)

var update = testkit.UpdateFlag(flag.CommandLine)

// docs is where the pages for users are.
var docs = filepath.Join("..", "..", "..", "..", "docs")

func shop(instances int32) *v1alpha1.MySQLCluster {
	return &v1alpha1.MySQLCluster{
		ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "trade", UID: "0b2f3c1e"},
		Spec: v1alpha1.MySQLClusterSpec{Instances: instances, Monitoring: v1alpha1.Monitoring{
			Exporter: v1alpha1.ExporterSidecar, ScrapeInterval: &metav1.Duration{Duration: 15 * time.Second},
		}, Backup: &v1alpha1.Backup{Schedule: "0 2 * * *", Verify: &v1alpha1.Verify{Schedule: "0 5 * * *"}, Target: &v1alpha1.BackupTarget{Volume: &v1alpha1.VolumeTarget{ClaimName: "backups"}}}},
	}
}

func TestObjects(t *testing.T) {
	dashboard, err := monitoring.DashboardConfigMap(shop(3))
	if err != nil {
		t.Fatal(err)
	}
	for name, object := range map[string]any{
		"podmonitor.yaml": monitoring.PodMonitor(shop(3)), "prometheusrule.yaml": monitoring.PrometheusRule(shop(3)), "dashboard.yaml": dashboard,
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := yaml.Marshal(object)
			if err != nil {
				t.Fatal(err)
			}
			testkit.Golden(t, *update, name, raw)
		})
	}
}

func names(alerts []monitoring.Alert) []string {
	out := make([]string, len(alerts))
	for i, a := range alerts {
		out[i] = a.Name
	}
	return out
}

// TestOnlyBackupsThatAreWantedAreMissed: a cluster without a target has no alert about backups, one without a schedule none about their age, and one without drills
// none about those.
func TestOnlyBackupsThatAreWantedAreMissed(t *testing.T) {
	about := func(change func(*v1alpha1.Backup)) []string {
		cluster := shop(3)
		change(cluster.Spec.Backup)
		return slices.DeleteFunc(names(monitoring.Alerts(monitoring.ScopeOf(cluster))), func(name string) bool {
			return name != "MySQLArchiveExposed" && name != "MySQLBackupOverdue" && name != "MySQLBackupUnproven"
		})
	}
	if got := about(func(*v1alpha1.Backup) {}); len(got) != 3 {
		t.Errorf("with all: %q", got)
	}
	if got := about(func(b *v1alpha1.Backup) { b.Schedule, b.Verify = "", nil }); !slices.Equal(got, []string{"MySQLArchiveExposed"}) {
		t.Errorf("without a schedule: %q", got)
	}
	if got := about(func(b *v1alpha1.Backup) { b.Target = nil }); len(got) != 0 {
		t.Errorf("without a target: %q", got)
	}
}

// TestASingleInstanceIsNotCalledUnredundant: its owner has chosen so.
func TestASingleInstanceIsNotCalledUnredundant(t *testing.T) {
	for instances, want := range map[int32]bool{1: false, 2: true, 3: true} {
		alerts := names(monitoring.Alerts(monitoring.ScopeOf(shop(instances))))
		if got := slices.Contains(alerts, "MySQLNotRedundant"); got != want {
			t.Errorf("%d instances: %v", instances, got)
		}
	}
}

// TestAnOldObjectHasAnInterval: a cluster that was written before the field existed.
func TestAnOldObjectHasAnInterval(t *testing.T) {
	if got := monitoring.ScopeOf(&v1alpha1.MySQLCluster{}).Interval; got != 15*time.Second {
		t.Errorf("the interval is %v", got)
	}
}

// TestEachAlertHasItsPage and each page its alert; a page answers what a person asks at night.
func TestEachAlertHasItsPage(t *testing.T) {
	folder := filepath.Join(docs, "runbooks")
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var pages []string
	for _, entry := range entries {
		if name, ok := strings.CutSuffix(entry.Name(), ".md"); ok && name != "README" {
			pages = append(pages, name)
		}
	}
	alerts := names(monitoring.Alerts(monitoring.ScopeOf(shop(3))))
	slices.Sort(alerts)
	slices.Sort(pages)
	if !slices.Equal(alerts, pages) {
		t.Errorf("alerts %v\npages  %v", alerts, pages)
	}
	index, err := os.ReadFile(filepath.Join(folder, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range alerts {
		page, err := os.ReadFile(filepath.Join(folder, name+".md"))
		if err != nil {
			continue
		}
		for _, part := range []string{"# " + name + "\n", "## What it means", "## What users feel", "## See the cause", "## Mend it", "## When to worry", "kubectl "} {
			if !strings.Contains(string(page), part) {
				t.Errorf("%s.md has no %q", name, part)
			}
		}
		if !strings.Contains(string(index), "("+name+".md)") {
			t.Errorf("the list of runbooks does not name %s", name)
		}
	}
	for _, rule := range monitoring.PrometheusRule(shop(3)).Spec.Groups[0].Rules {
		if !strings.HasSuffix(rule.Annotations["runbook_url"], "/docs/runbooks/"+rule.Alert+".md") {
			t.Errorf("%s leads to %s", rule.Alert, rule.Annotations["runbook_url"])
		}
	}
}

// TestExpressionsAreAboutOneCluster: a selector that is missing would mix clusters, or fire for a neighbour.
func TestExpressionsAreAboutOneCluster(t *testing.T) {
	scope := monitoring.ScopeOf(shop(3))
	expressions := monitoring.Queries(scope)
	for _, a := range monitoring.Alerts(scope) {
		expressions = append(expressions, a.Expr)
	}
	metric := regexp.MustCompile(`\b(?:mysql|kapok)_[a-z0-9_]+\b(\{[^}]*\})?`)
	for _, expr := range expressions {
		if strings.Contains(expr, "$") {
			t.Errorf("a variable is left in %s", expr)
		}
		for _, found := range metric.FindAllStringSubmatch(expr, -1) {
			if strings.HasPrefix(found[0], "mysql_cluster") {
				continue
			}
			if !strings.HasPrefix(found[1], `{namespace="trade",mysql_cluster="shop"`) {
				t.Errorf("%s in %s", found[0], expr)
			}
		}
	}
}

// TestDashboardIsSmall: it is kept in etcd and in the operator's cache, once for each cluster.
func TestDashboardIsSmall(t *testing.T) {
	raw, err := monitoring.Dashboard(monitoring.ScopeOf(shop(3)))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		UID    string
		Panels []struct {
			GridPos struct{ X, Y, W, H int }
		}
	}
	if err := json.Unmarshal(raw, &dashboard); err != nil {
		t.Fatal(err)
	}
	if len(raw) > 24<<10 || len(dashboard.UID) > 40 || len(dashboard.Panels) < 20 {
		t.Errorf("%d bytes, uid %q, %d panels", len(raw), dashboard.UID, len(dashboard.Panels))
	}
	for i, a := range dashboard.Panels {
		for _, b := range dashboard.Panels[:i] {
			p, q := a.GridPos, b.GridPos
			if p.X < q.X+q.W && q.X < p.X+p.W && p.Y < q.Y+q.H && q.Y < p.Y+p.H {
				t.Errorf("panels lie on each other: %+v and %+v", p, q)
			}
		}
	}
}
