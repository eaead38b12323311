package protect

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
)

// TestAnUpgradeWaitsForAFullBackup: one is made for it, once, and until that is stored no instance that runs is made anew.
func TestAnUpgradeWaitsForAFullBackup(t *testing.T) {
	const image = "mysql:9.7.1"
	taken := func(change func(*v1alpha1.MySQLBackup)) func(w *world) {
		return func(w *world) {
			w.add("before", time.Minute, func(b *v1alpha1.MySQLBackup) {
				change(b)
				b.Annotations = map[string]string{AnnotationImage: image, AnnotationDue: now.Format(time.RFC3339)}
			})
		}
	}
	for name, c := range map[string]struct {
		prepare func(w *world)
		held    string
		makes   bool
	}{
		"not begun": {func(*world) {}, "about to be taken", true},
		"pending":   {taken(func(b *v1alpha1.MySQLBackup) { b.Status.Message = "waits for a replica" }), "waits for a replica", false},
		"running":   {func(w *world) { taken(w.running("db-1"))(w) }, "MySQLBackup before", false},
		"stored":    {func(w *world) { taken(w.completed(time.Minute))(w) }, "", false},
		"given up":  {taken(func(b *v1alpha1.MySQLBackup) { b.Status.Phase = v1alpha1.BackupFailed }), v1alpha1.AnnotationWithoutBackup + "=" + image, false},
		"for another": {func(w *world) {
			taken(w.completed(time.Minute))(w)
			w.Backups[0].Annotations[AnnotationImage] = "mysql:9.6"
		}, "about to be taken", true},
		"long ago": {func(w *world) {
			taken(w.completed(time.Minute))(w)
			w.Backups[0].CreationTimestamp = metav1.NewTime(now.Add(-25 * time.Hour))
		}, "about to be taken", true},
		"another backup is under way": {func(w *world) { w.add("other", time.Minute, w.running("db-1")) }, "about to be taken", false},
		"by request without":          {func(w *world) { w.Cluster.Annotations = map[string]string{v1alpha1.AnnotationWithoutBackup: image} }, "", false},
		"by request for another": {func(w *world) {
			w.Cluster.Annotations = map[string]string{v1alpha1.AnnotationWithoutBackup: "mysql:9.6"}
		}, "about to be taken", true},
		"no target":                      {func(w *world) { w.Cluster.Spec.Backup.Target = nil }, "", false},
		"no primary to take a backup of": {func(w *world) { w.at("db-0").Report.Serving = false }, "", false},
		"no upgrade":                     {func(w *world) { w.Upgrading = "" }, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := healthy(t)
			w.Upgrading = image
			c.prepare(w)
			held := Hold(w.Input)
			if (held == "") != (c.held == "") || !strings.Contains(held, c.held) {
				t.Errorf("held because %q, want %q", held, c.held)
			}
			d := Decide(w.Input)
			makes := len(d.Create) == 1 && d.Create[0].For == ForUpgrade && d.Create[0].Image == image && len(d.Create[0].Name) <= 63
			if makes != c.makes || len(d.Create) > 1 {
				t.Errorf("makes %+v", d.Create)
			}
		})
	}
}
