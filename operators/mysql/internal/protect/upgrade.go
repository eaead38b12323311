package protect

import (
	"fmt"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
)

// freshFor is for how long a full backup counts as one from before an upgrade. An upgrade that is not done by then is begun again, backup and all.
const freshFor = 24 * time.Hour

// Hold says why instances that run are not to be made anew with another image yet: a full backup is taken first, because an older server cannot
// read what a newer one has written. "" says that nothing holds them. Those that do not run are not held: what is to be upgraded may be what is
// broken, and without a primary there is nobody to take a backup of.
func Hold(in Input) string {
	x := newScene(in)
	if !x.upgrades() {
		return ""
	}
	b := x.beforeUpgrade()
	switch {
	case b == nil:
		return "a full backup is about to be taken before instances are made anew with " + x.Upgrading
	case b.Status.Phase == v1alpha1.BackupCompleted:
		return ""
	case b.Status.Phase == v1alpha1.BackupFailed:
		return fmt.Sprintf("the full backup before the upgrade to %s was given up; delete MySQLBackup %s to have another one taken, or annotate the cluster with %s=%s to go on without",
			x.Upgrading, b.Name, v1alpha1.AnnotationWithoutBackup, x.Upgrading)
	}
	return fmt.Sprintf("before instances are made anew with %s, MySQLBackup %s is taken: %s", x.Upgrading, b.Name, b.Status.Message)
}

// upgrades says whether a backup has to come first.
func (x *scene) upgrades() bool {
	return x.Upgrading != "" && x.target != nil && x.primary != nil && x.Cluster.DeletionTimestamp == nil &&
		x.Cluster.Annotations[v1alpha1.AnnotationWithoutBackup] != x.Upgrading
}

// beforeUpgrade returns the MySQLBackup that was made for the upgrade; nil if there is none.
func (x *scene) beforeUpgrade() *v1alpha1.MySQLBackup {
	for i := len(x.Backups) - 1; i >= 0; i-- {
		b := &x.Backups[i]
		if b.DeletionTimestamp == nil && b.Annotations[AnnotationImage] == x.Upgrading && x.now.Sub(b.CreationTimestamp.Time) < freshFor {
			return b
		}
	}
	return nil
}
