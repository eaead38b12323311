package chaos

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
)

// TestEveryStepMeetsEveryFault: a campaign as long as there are pairs has injected each of them once, in an order that the seed gives.
func TestEveryStepMeetsEveryFault(t *testing.T) {
	backups, restores := disturbances()
	seen := map[Disturbed]int{}
	for number := 1; number <= len(backups); number++ {
		r := DrawProtection(7, number)
		if again := DrawProtection(7, number); !cmp.Equal(r, again) {
			t.Fatalf("round %d is another one each time", number)
		}
		if r.Moment <= 0 || r.Moment > 1 || r.Backup.Hold > 20*time.Second {
			t.Errorf("%+v", r)
		}
		seen[Disturbed{Step: "backup " + r.Backup.Step, Fault: r.Backup.Fault}]++
		seen[Disturbed{Step: "restore " + r.Restore.Step, Fault: r.Restore.Fault}]++
	}
	if len(backups) < len(restores) || len(seen) != len(backups)+len(restores) {
		t.Errorf("%d pairs of %d and %d were drawn", len(seen), len(backups), len(restores))
	}
	if cmp.Equal(DrawProtection(7, 1).Backup, DrawProtection(8, 1).Backup) && cmp.Equal(DrawProtection(7, 2).Backup, DrawProtection(8, 2).Backup) {
		t.Error("another seed gives the same order")
	}
}

// TestProblemsOfARestoreAreFound: each by itself makes the campaign fail, and a round in which nothing was to be restored proves nothing.
func TestProblemsOfARestoreAreFound(t *testing.T) {
	good := func() ProtectionResult {
		return ProtectionResult{Verdict: Verdict{Acknowledged: 9}, Restored: RestoreVerdict{Expected: 5, Excluded: 2}}
	}
	if s := SummarizeProtection(1, 1, []ProtectionResult{good()}); !s.Good() || s.Expected != 5 || s.Excluded != 2 || s.Acknowledged != 9 {
		t.Errorf("a good round: %+v", s)
	}
	for name, plant := range map[string]func(r *ProtectionResult){
		"lost on the cluster": func(r *ProtectionResult) { r.Verdict.Lost = 1 },
		"lost in the restore": func(r *ProtectionResult) { r.Restored.Lost = 1 },
		"phantom":             func(r *ProtectionResult) { r.Restored.Phantom = 1 },
		"disordered":          func(r *ProtectionResult) { r.Restored.Disordered = 1 },
		"given up":            func(r *ProtectionResult) { r.say("the backup was given up") },
		"nothing to restore":  func(r *ProtectionResult) { r.Restored = RestoreVerdict{} },
	} {
		r := good()
		plant(&r)
		if s := SummarizeProtection(1, 1, []ProtectionResult{good(), r}); s.Good() || len(s.Failing) != 1 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// TestStepsAreKnownByTheirWords: those that the operator uses.
func TestStepsAreKnownByTheirWords(t *testing.T) {
	for message, want := range map[string]string{
		"db-1 copies its data": stepCopying, "db-1 stores its copy: 30 % done": stepStoring, "db-1 waits until the primary is known to hold all of it": stepConfirming,
		"db-1 is about to begin": "beginning",
	} {
		if got := backupStep(mysqlv1.MySQLBackupStatus{Phase: mysqlv1.BackupRunning, Message: message}); got != want {
			t.Errorf("%q is %s, want %s", message, got, want)
		}
	}
}
