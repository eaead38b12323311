package protect

import (
	"slices"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// TestABackupOfAnotherInstanceIsSeenAtOnce: whoever keeps the archive does not take most full backups itself, and is told when there is another.
func TestABackupOfAnotherInstanceIsSeenAtOnce(t *testing.T) {
	slow := quick
	slow.fulls, slow.retention = time.Hour, time.Hour
	s := serverWith(t, 0, 3)
	b := start(t, s, slow)
	b.archiving(s, 1, instance.ArchiveDuty{KeepDays: 7})
	b.until("nothing is stored yet", func(r instance.BackupReport) bool {
		return r.Archive != nil && r.Archive.Listed && len(r.Archive.Stored) == 0
	})
	b.put("by-another", 3, time.Now().UTC())
	b.archiving(s, 1, instance.ArchiveDuty{KeepDays: 7, Newest: "by-another"})
	b.until("it is seen", func(r instance.BackupReport) bool { return slices.Equal(names(r), []string{"by-another"}) })
}
