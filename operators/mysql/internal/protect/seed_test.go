package protect

import (
	"testing"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// TestABlankInstanceIsMadeFromABackup: one that holds nothing is told where the backups are if its server can read them, and every doubt leaves it the
// clone that it was told.
func TestABlankInstanceIsMadeFromABackup(t *testing.T) {
	told := func(w *world) (*instance.CloneDuty, *instance.CloneDuty) {
		t.Helper()
		given := &instance.CloneDuty{Source: instance.Source{Name: "db-0"}, SourceExecuted: held, Why: "it holds no data yet"}
		plan := directed(w)
		plan.Directives[1].Directive = instance.Directive{Epoch: 2, Role: instance.RoleClone, Clone: given}.WithID()
		Assign(w.Input, plan)
		d := plan.Directives[1].Directive
		if d.ID != d.WithID().ID {
			t.Error("the directive is not called after what it says")
		}
		return d.Clone, given
	}
	for name, test := range map[string]struct {
		change func(*world)
		seeded bool
	}{
		"asked for":             {func(*world) {}, true},
		"of an older server":    {func(w *world) { w.archive.Stored[0].Version = "8.4.9" }, true},
		"of a distribution":     {func(w *world) { w.archive.Stored[0].Version = "9.7.1-2" }, true},
		"not asked for":         {func(w *world) { w.Cluster.Spec.Backup.SeedReplicas = false }, false},
		"encrypted from now on": {func(w *world) { w.Cluster.Spec.Backup.Recipients = []string{"age1"} }, false},
		"encrypted":             {func(w *world) { w.archive.Stored[0].Sealed = true }, false},
		"of a newer server":     {func(w *world) { w.archive.Stored[0].Version = "9.10.0" }, false},
		"of an unknown server":  {func(w *world) { w.archive.Stored[0].Version = "" }, false},
		"nothing is stored":     {func(w *world) { w.archive.Stored = nil }, false},
		"nobody knows":          {func(w *world) { w.archive.Listed = false }, false},
		"no primary serves":     {func(w *world) { w.at("db-0").Report.Serving = false }, false},
		"it holds something":    {func(w *world) { w.at("db-1").Report.Blank = false }, false},
		"at work":               {func(w *world) { w.at("db-1").Report.Seed = &instance.RestoreReport{State: instance.RestoreReplaying} }, true},
		"it has failed":         {func(w *world) { w.at("db-1").Report.Seed = &instance.RestoreReport{State: instance.RestoreFailed} }, false},
		"its server is unknown": {func(w *world) { w.at("db-1").Report.ServerVersion = "" }, false},
		"it is not heard":       {func(w *world) { w.at("db-1").Report = nil }, false},
		"there is no target":    {func(w *world) { w.Cluster.Spec.Backup.Target = nil }, false},
		"the newest can be, an older cannot": {func(w *world) {
			w.archive.Stored = []instance.StoredFull{{Name: "old", Sealed: true, Version: "9.7.1"}, w.archive.Stored[0]}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := healthy(t)
			w.Cluster.Spec.Backup.SeedReplicas = true
			w.archive.Stored[0].Sealed = false
			r := w.at("db-1").Report
			r.Blank, r.Role, r.ServerVersion = true, instance.RoleStandby, "9.7.1"
			test.change(w)
			if w.at("db-1").Report == nil {
				plan := &topology.Plan{Directives: []topology.Direct{{Member: "db-1", Directive: instance.Directive{Role: instance.RoleClone, Clone: &instance.CloneDuty{}}}}}
				Assign(w.Input, plan)
				if plan.Directives[0].Directive.Clone.Seed != nil {
					t.Error("who is not heard is told where the backups are")
				}
				return
			}
			got, given := told(w)
			if given.Seed != nil {
				t.Error("what topology has decided is changed")
			}
			if (got.Seed != nil) != test.seeded {
				t.Fatalf("told %+v", got.Seed)
			}
			if got.Source.Name != given.Source.Name || got.SourceExecuted != given.SourceExecuted || got.Why != given.Why {
				t.Errorf("the clone is another one: %+v", got)
			}
			if s := got.Seed; s != nil && (s.Cluster != uid || s.Store.S3 == nil || s.Store.S3.Bucket != "backups") {
				t.Errorf("told %+v", s)
			}
		})
	}
}

// TestOnlyAClonedInstanceIsMadeFromABackup: no other role is told.
func TestOnlyAClonedInstanceIsMadeFromABackup(t *testing.T) {
	w := healthy(t)
	w.Cluster.Spec.Backup.SeedReplicas = true
	w.archive.Stored[0].Sealed = false
	for i := range w.Observation.Members {
		w.Observation.Members[i].Report.Blank, w.Observation.Members[i].Report.ServerVersion = true, "9.7.1"
	}
	plan := directed(w)
	Assign(w.Input, plan)
	for _, d := range plan.Directives {
		if d.Directive.Clone != nil {
			t.Errorf("%s: %+v", d.Member, d.Directive.Clone)
		}
	}
}
