package chaos

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
)

// ProtectionFault names a fault that meets a backup or a restore.
type ProtectionFault string

// The faults. The donor is the instance that takes the backup, or the one that restores.
const (
	// DonorServer ends the donor's mysqld by SIGKILL, DonorAgent its agent and with it the container; DonorPod deletes its pod without grace.
	DonorServer ProtectionFault = "kill-donor-mysqld"
	DonorAgent  ProtectionFault = "kill-donor-agent"
	DonorPod    ProtectionFault = "delete-donor-pod"
	// PrimaryServer ends the primary's mysqld, PrimaryPod deletes its pod: a failover. HandOver asks for another primary.
	PrimaryServer ProtectionFault = "kill-primary-mysqld"
	PrimaryPod    ProtectionFault = "delete-primary-pod"
	HandOver      ProtectionFault = "switchover"
	// Leader deletes the operator's leader without grace.
	Leader ProtectionFault = "kill-leader"
	// StoreKilled ends the store by SIGKILL, StoreFrozen lets it stand still for a while, StoreAway leads its Service nowhere for a while.
	StoreKilled ProtectionFault = "kill-store"
	StoreFrozen ProtectionFault = "freeze-store"
	StoreAway   ProtectionFault = "store-away"
)

// meetsVictim says whether the fault is about the donor.
func (f ProtectionFault) meetsVictim() bool {
	return f == DonorServer || f == DonorAgent || f == DonorPod
}

// The steps of a backup and of a restore at which faults are injected.
const (
	stepCopying    = "copying"
	stepStoring    = "storing"
	stepConfirming = "confirming"
	stepRestoring  = "restoring"
	stepUnpacking  = "unpacking"
	stepReplaying  = "replaying"
	stepFounding   = "founding"
)

// disturbances are all pairs of a step and a fault, for a backup and for a restore.
func disturbances() (backups, restores []Disturbed) {
	for _, step := range []string{stepCopying, stepStoring, stepConfirming} {
		for _, fault := range []ProtectionFault{
			DonorServer, DonorAgent, DonorPod, PrimaryServer, PrimaryPod, HandOver, Leader, StoreKilled, StoreFrozen, StoreAway,
		} {
			backups = append(backups, Disturbed{Step: step, Fault: fault})
		}
	}
	for _, step := range []string{stepRestoring, stepUnpacking, stepReplaying, stepFounding} {
		for _, fault := range []ProtectionFault{DonorAgent, DonorPod, PrimaryServer, Leader, StoreKilled, StoreFrozen, StoreAway} {
			restores = append(restores, Disturbed{Step: step, Fault: fault})
		}
	}
	return backups, restores
}

// Disturbed is a backup or a restore that is disturbed.
type Disturbed struct {
	// Step is at which Fault is injected, Hold how long that lasts.
	Step  string          `json:"step"`
	Fault ProtectionFault `json:"fault"`
	Hold  time.Duration   `json:"hold,omitempty"`
	// At is the step at which it was injected in the end; Failed why it could not be.
	At     string `json:"at"`
	Failed string `json:"failed,omitempty"`
	// Took is how long the whole took, from asking for it; Attempts how many it took.
	Took     time.Duration `json:"took"`
	Attempts int32         `json:"attempts"`
}

// ProtectionRound is one backup and one restore.
type ProtectionRound struct {
	// Seed and Number make the round again: SEED=<seed> FROM=<number> FAULTS=1 make chaos-backup.
	Seed   uint64 `json:"seed"`
	Number int    `json:"number"`
	// Backup and Restore are what is disturbed, and how.
	Backup  Disturbed `json:"backup"`
	Restore Disturbed `json:"restore"`
	// Newest says that the newest state is restored, and not that of a moment; Moment is which one, from 0 to 1, of the time in which clients wrote.
	Newest bool    `json:"newest"`
	Moment float64 `json:"moment"`
}

// shuffle is the seed of the order in which pairs are gone through.
const shuffle = 0x6b61706f6b

// DrawProtection draws a round. The pairs of a step and a fault are gone through in an order that the seed gives, so that all come before one comes again.
func DrawProtection(seed uint64, number int) ProtectionRound {
	order := rand.New(rand.NewPCG(seed, shuffle)) //nolint:gosec // A schedule, not a secret.
	backups, restores := disturbances()
	order.Shuffle(len(backups), func(i, j int) { backups[i], backups[j] = backups[j], backups[i] })
	order.Shuffle(len(restores), func(i, j int) { restores[i], restores[j] = restores[j], restores[i] })
	r := rand.New(rand.NewPCG(seed, uint64(number))) //nolint:gosec // A schedule, not a secret, and numbers are positive.
	round := ProtectionRound{Seed: seed, Number: number, Backup: backups[(number-1)%len(backups)], Restore: restores[(number-1)%len(restores)]}
	for _, d := range []*Disturbed{&round.Backup, &round.Restore} {
		if d.Fault == StoreFrozen || d.Fault == StoreAway {
			d.Hold = time.Duration(2+r.IntN(14)) * time.Second
		}
	}
	round.Newest, round.Moment = r.IntN(4) == 0, 0.05+0.95*r.Float64()
	return round
}

// Name names the round, its chapter and its backup.
func (r ProtectionRound) Name() string { return Round{Seed: r.Seed, Number: r.Number}.Name() }

// String says what the round does.
func (r ProtectionRound) String() string {
	return fmt.Sprintf("%s while %s, %s while %s", r.Backup.Fault, r.Backup.Step, r.Restore.Fault, r.Restore.Step)
}

// backupStep is the step that a MySQLBackup is at.
func backupStep(s mysqlv1.MySQLBackupStatus) string {
	switch {
	case s.Phase != mysqlv1.BackupRunning:
		return strings.ToLower(string(s.Phase))
	case strings.Contains(s.Message, "copies its data"):
		return stepCopying
	case strings.Contains(s.Message, "stores its copy"):
		return stepStoring
	case strings.Contains(s.Message, "waits until the primary"):
		return stepConfirming
	}
	return "beginning"
}

// restoreStep is the step that a cluster is at that begins with a restore.
func restoreStep(c *mysqlv1.MySQLCluster) string {
	available := meta.FindStatusCondition(c.Status.Conditions, mysqlv1.ConditionAvailable)
	switch {
	case available == nil:
		return "asked"
	case strings.Contains(available.Message, "restores the data"):
		return stepRestoring
	case strings.Contains(available.Message, "unpacks"):
		return stepUnpacking
	case strings.Contains(available.Message, "replays"):
		return stepReplaying
	case c.Status.Record != nil:
		return stepFounding
	}
	return "beginning"
}
