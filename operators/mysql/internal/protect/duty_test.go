package protect

import (
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// directed returns a plan that tells every member its role.
func directed(w *world) *topology.Plan {
	plan := &topology.Plan{}
	for _, m := range w.Observation.Members {
		d := instance.Directive{Epoch: 2, Role: m.Report.Role}
		if d.Role == instance.RolePrimary {
			d.Primary = &instance.PrimaryDuty{Serve: true}
		}
		plan.Directives = append(plan.Directives, topology.Direct{Member: m.Name, Directive: d.WithID()})
	}
	return plan
}

func dutyOf(plan *topology.Plan, member string) *instance.BackupDuty {
	for _, d := range plan.Directives {
		if d.Member == member {
			return d.Directive.Backup
		}
	}
	return nil
}

// TestOnlyAServingPrimaryArchives: what it has executed is acknowledged. Nobody else may, and nobody is told anything without a target.
func TestOnlyAServingPrimaryArchives(t *testing.T) {
	w := healthy(t)
	w.Cluster.Spec.Backup.Keep = 5
	w.add("gone", time.Hour, func(b *v1alpha1.MySQLBackup) { w.completed(time.Minute)(b); deleted(b) })
	w.add("elsewhere", time.Hour, func(b *v1alpha1.MySQLBackup) {
		w.completed(time.Minute)(b)
		deleted(b)
		b.Status.Target.S3.Bucket = "others"
	})
	w.add("older", time.Hour, w.completed(time.Hour))
	w.add("newer", time.Hour, w.completed(time.Minute+time.Second))
	plan := directed(w)
	Assign(w.Input, plan)
	d := dutyOf(plan, "db-0")
	if d == nil || d.Archive == nil || d.Archive.KeepDays != 7 || d.Archive.KeepCount != 5 || d.Cluster != uid || d.Store.S3 == nil || d.Store.S3.Bucket != "backups" {
		t.Fatalf("the primary is told %+v", d)
	}
	if len(d.Archive.Delete) != 1 || d.Archive.Delete[0] != "gone" {
		t.Errorf("to delete: %q", d.Archive.Delete)
	}
	if d.Archive.Newest != "newer" {
		t.Errorf("the newest is %q", d.Archive.Newest)
	}
	if dutyOf(plan, "db-1") != nil || dutyOf(plan, "db-2") != nil {
		t.Error("replicas are told as well")
	}
	for _, direct := range plan.Directives {
		if direct.Directive.ID != direct.Directive.WithID().ID {
			t.Errorf("%s: its directive is not called after what it says", direct.Member)
		}
	}
	closed := directed(w)
	closed.Directives[0].Directive.Primary.Serve = false
	Assign(w.Input, closed)
	if dutyOf(closed, "db-0") != nil {
		t.Error("a primary that does not serve is told to archive")
	}
	w.Cluster.Spec.Backup.Target = nil
	without := directed(w)
	Assign(w.Input, without)
	if dutyOf(without, "db-0") != nil {
		t.Error("without a target somebody is told to archive")
	}
}

// TestACopyIsConfirmedByThePrimary: a replica may hold what nobody else does. Its copy counts only once the primary that serves has executed all of it.
func TestACopyIsConfirmedByThePrimary(t *testing.T) {
	w := healthy(t)
	b := w.add("monday", 0, w.running("db-1"))
	told := func() *instance.FullDuty {
		plan := directed(w)
		Assign(w.Input, plan)
		if d := dutyOf(plan, "db-1"); d != nil {
			return d.Full
		}
		return nil
	}
	if d := told(); d == nil || d.Name != "monday" || d.Attempt != 1 || d.Confirmed != "" || d.Method != "" {
		t.Fatalf("told %+v", d)
	}
	w.Cluster.Spec.Backup.Method = v1alpha1.MethodXtraBackup
	if d := told(); d.Method != "xtrabackup" {
		t.Errorf("told the method %q", d.Method)
	}
	w.says("db-1", "monday", instance.FullReport{State: instance.FullConfirming, Within: held})
	if d := told(); d.Confirmed != held {
		t.Errorf("what the primary holds is not confirmed: %+v", d)
	}
	w.says("db-1", "monday", instance.FullReport{State: instance.FullConfirming, Within: "00000000-0000-4000-8000-000000000001:1-101"})
	if d := told(); d.Confirmed != "" {
		t.Errorf("what the primary does not hold is confirmed: %+v", d)
	}
	w.says("db-1", "monday", instance.FullReport{State: instance.FullConfirming, Within: held})
	w.at("db-0").Report.Serving = false
	if d := told(); d.Confirmed != "" {
		t.Errorf("confirmed by a primary that does not serve: %+v", d)
	}
	w.at("db-0").Report.Serving = true
	b.Status.Attempt = 2
	if d := told(); d.Attempt != 2 || d.Confirmed != "" {
		t.Errorf("what an earlier attempt said is confirmed: %+v", d)
	}
	// Its data are about to be replaced.
	plan := directed(w)
	plan.Directives[1].Directive.Role = instance.RoleClone
	Assign(w.Input, plan)
	if dutyOf(plan, "db-1") != nil {
		t.Error("an instance that is cloned is told to take a backup")
	}
}
