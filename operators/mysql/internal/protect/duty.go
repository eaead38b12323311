package protect

import (
	"slices"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// Assign adds to the directives of a plan what each instance does for backups, and to those of instances that are cloned what they may begin with instead.
func Assign(in Input, plan *topology.Plan) {
	if in.Cluster.Spec.Backup == nil || in.Cluster.Spec.Backup.Target == nil {
		return
	}
	x := newScene(in)
	for i := range plan.Directives {
		member, d := plan.Directives[i].Member, &plan.Directives[i].Directive
		d.Backup = x.duty(member, *d)
		seed := x.seed(member, *d)
		if seed != nil {
			clone := *d.Clone
			clone.Seed, d.Clone = seed, &clone
		}
		if d.Backup != nil || seed != nil {
			*d = d.WithID()
		}
	}
}

// duty is what an instance does for backups; nil if that is nothing.
func (x *scene) duty(member string, d instance.Directive) *instance.BackupDuty {
	duty := &instance.BackupDuty{
		Store: manifest.Store(x.target), Cluster: string(x.Cluster.UID), Recipients: slices.Clone(x.Cluster.Spec.Backup.Recipients),
	}
	if d.Role == instance.RolePrimary && d.Primary != nil && d.Primary.Serve {
		duty.Archive = &instance.ArchiveDuty{
			KeepDays: int(x.Cluster.Spec.Backup.Retention), KeepCount: int(x.Cluster.Spec.Backup.Keep), Delete: x.unwanted(), Newest: x.newestStored(),
			Drill: x.drillResult(),
		}
	}
	// Through a failover the copy goes on. It ends with the data that it is made of.
	if b := x.taking; b != nil && b.Status.Instance == member && d.Role != instance.RoleClone {
		duty.Full = &instance.FullDuty{
			Name: b.Name, Attempt: int(b.Status.Attempt), Confirmed: x.confirmed(member, b), Method: string(x.Cluster.Spec.Backup.Method),
			Prove: x.Cluster.Spec.Backup.Verify != nil,
		}
	}
	if duty.Archive == nil && duty.Full == nil {
		return nil
	}
	return duty
}

// unwanted are the stored full backups that somebody has deleted, with what is stored.
func (x *scene) unwanted() []string {
	var out []string
	for i := range x.Backups {
		if b := &x.Backups[i]; b.DeletionTimestamp != nil && b.Spec.DeletionPolicy == v1alpha1.DeletionDelete && x.storedHere(b) {
			out = append(out, b.Name)
		}
	}
	slices.Sort(out)
	return out
}

// newestStored is the full backup that was finished last, as far as the MySQLBackups say; "" if there is none.
func (x *scene) newestStored() string {
	name, at := "", time.Time{}
	for i := range x.Backups {
		if b := &x.Backups[i]; b.DeletionTimestamp == nil && b.Status.Phase == v1alpha1.BackupCompleted && b.Status.FinishedAt != nil &&
			b.Status.FinishedAt.After(at) && x.storedHere(b) {
			name, at = b.Name, b.Status.FinishedAt.Time
		}
	}
	return name
}

// storedHere says whether a backup went, or would go, where this cluster's backups go now.
func (x *scene) storedHere(b *v1alpha1.MySQLBackup) bool {
	return x.target != nil && b.Status.ClusterUID == string(x.Cluster.UID) && b.Status.Target != nil && manifest.SameStore(b.Status.Target, x.target)
}

// confirmed is what a copy holds at the most, once the primary has executed all of it: it is acknowledged then, and no failover can undo it. What a
// primary that serves has executed is on a write quorum, while a replica may hold what nobody else does.
func (x *scene) confirmed(member string, b *v1alpha1.MySQLBackup) string {
	i := slices.IndexFunc(x.Observation.Members, func(m topology.Member) bool { return m.Name == member })
	if i < 0 || x.primary == nil || x.Observation.Members[i].Report == nil {
		return ""
	}
	full := fullOf(&x.Observation.Members[i], b)
	if full == nil || full.Within == "" {
		return ""
	}
	within, err := gtid.Parse(full.Within)
	if err != nil || !x.primary.Executed.Contains(within) {
		return ""
	}
	return full.Within
}

// fullOf is what an instance says about the present attempt of a backup; nil if it says nothing.
func fullOf(m *topology.Member, b *v1alpha1.MySQLBackup) *instance.FullReport {
	if m.Report == nil || m.Report.Backup == nil || m.Report.Backup.Full == nil {
		return nil
	}
	full := m.Report.Backup.Full
	if full.Name != b.Name || full.Attempt != int(b.Status.Attempt) {
		return nil
	}
	return full
}
