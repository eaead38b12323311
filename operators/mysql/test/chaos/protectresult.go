package chaos

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// ProtectionResult is what became of a round.
type ProtectionResult struct {
	ProtectionRound
	// Verdict is what the history of the cluster itself says, Restored what was brought back.
	Verdict  Verdict        `json:"verdict"`
	Restored RestoreVerdict `json:"restored"`
	// Found is what else went wrong, in words.
	Found []string `json:"found,omitempty"`
}

func (r *ProtectionResult) say(what string) { r.Found = append(r.Found, what) }

// problems says what is wrong with a round, in words.
func (r ProtectionResult) problems() []string {
	whole := Result{Converged: true, Verdict: r.Verdict}
	out := append(slices.Clone(r.Found), whole.problems()...)
	for _, p := range []struct {
		n    int64
		what string
	}{
		{r.Restored.Lost, "writes are not in what was restored"}, {r.Restored.Phantom, "elements are in what was restored that should not be"},
		{r.Restored.Disordered, "restored lists are in another order"},
	} {
		if p.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if r.Restored.Expected == 0 && len(r.Found) == 0 {
		out = append(out, "nothing was to be restored: the round proves nothing")
	}
	if len(out) > 0 {
		out = append(out, r.Restored.Examples...)
	}
	return out
}

// reproduce is the command that makes the round again.
func (r ProtectionResult) reproduce() string {
	return fmt.Sprintf("SEED=%d FROM=%d FAULTS=1 make chaos-backup", r.Seed, r.Number)
}

// tell says in one line what became of the round.
func (r ProtectionResult) tell() string {
	mark := "✓"
	if len(r.problems()) > 0 {
		mark = "✗"
	}
	to := fmt.Sprintf("as of %.0f %%", 100*r.Moment)
	if r.Newest {
		to = "newest"
	}
	what := func(d Disturbed) string {
		text := fmt.Sprintf("%s at %s, %d attempts, %5.1f s", d.Fault, d.At, d.Attempts, d.Took.Seconds())
		if d.Failed != "" {
			text += " (not injected: " + d.Failed + ")"
		}
		return text
	}
	return fmt.Sprintf("%s round %-3d backup: %s; restore (%s): %s; %d acknowledged, %d brought back, %d left out", mark, r.Number, what(r.Backup), to,
		what(r.Restore), r.Verdict.Acknowledged, r.Restored.Expected, r.Restored.Excluded)
}

// ProtectionSummary is a campaign in figures: .out/chaos-backup.json.
type ProtectionSummary struct {
	Seed   uint64 `json:"seed"`
	From   int    `json:"from"`
	Rounds int    `json:"rounds"`
	// Acknowledged writes on the cluster, and those of them that restores had to bring back or leave out.
	Acknowledged int64 `json:"acknowledged"`
	Expected     int64 `json:"expected"`
	Excluded     int64 `json:"excluded"`
	// Lost and Phantom are of the cluster, and of what was restored.
	Lost            int64 `json:"lost"`
	Phantom         int64 `json:"phantom"`
	RestoredLost    int64 `json:"restored_lost"`
	RestoredPhantom int64 `json:"restored_phantom"`
	// BackupFaults and RestoreFaults count the faults by the step at which they were injected.
	BackupFaults  map[string]int `json:"backup_faults"`
	RestoreFaults map[string]int `json:"restore_faults"`
	NotInjected   int            `json:"not_injected"`
	// Attempts counts backups by how many attempts they took. Backup and Restore are how long they took, faults and pauses included.
	Attempts map[int32]int `json:"attempts"`
	Backup   Distribution  `json:"backup_ms"`
	Restore  Distribution  `json:"restore_ms"`
	Failing  []Failing     `json:"failing,omitempty"`
}

// SummarizeProtection puts a campaign's results into figures.
func SummarizeProtection(seed uint64, from int, results []ProtectionResult) ProtectionSummary {
	s := ProtectionSummary{Seed: seed, From: from, Rounds: len(results), BackupFaults: map[string]int{}, RestoreFaults: map[string]int{}, Attempts: map[int32]int{}}
	var backups, restores []time.Duration
	for _, r := range results {
		s.Acknowledged += r.Verdict.Acknowledged
		s.Expected, s.Excluded = s.Expected+r.Restored.Expected, s.Excluded+r.Restored.Excluded
		s.Lost, s.Phantom = s.Lost+r.Verdict.Lost, s.Phantom+r.Verdict.Phantom
		s.RestoredLost, s.RestoredPhantom = s.RestoredLost+r.Restored.Lost, s.RestoredPhantom+r.Restored.Phantom
		s.Attempts[r.Backup.Attempts]++
		for _, d := range []struct {
			Disturbed
			into map[string]int
			took *[]time.Duration
		}{{r.Backup, s.BackupFaults, &backups}, {r.Restore, s.RestoreFaults, &restores}} {
			if d.Failed != "" {
				s.NotInjected++
				continue
			}
			d.into[fmt.Sprintf("%s at %s", d.Fault, d.At)]++
			if d.Took > 0 {
				*d.took = append(*d.took, d.Took)
			}
		}
		if problems := r.problems(); len(problems) > 0 {
			s.Failing = append(s.Failing, Failing{Round: r.Number, What: r.String(), Problems: problems, Reproduce: r.reproduce()})
		}
	}
	s.Backup, s.Restore = distribution(backups), distribution(restores)
	return s
}

// Print writes the figures for people.
func (s ProtectionSummary) Print(out io.Writer) {
	for _, table := range []struct {
		what   string
		faults map[string]int
	}{{"a backup was hit by", s.BackupFaults}, {"a restore was hit by", s.RestoreFaults}} {
		fmt.Fprintf(out, "\n%s\n", table.what)
		for _, key := range slices.Sorted(maps.Keys(table.faults)) {
			fmt.Fprintf(out, "  %3d  %s\n", table.faults[key], key)
		}
	}
	fmt.Fprintf(out, "\nseed %d, rounds %d to %d (%d faults could not be injected): %d writes acknowledged, lost %d, phantom %d\n", s.Seed, s.From, s.From+s.Rounds-1,
		s.NotInjected, s.Acknowledged, s.Lost, s.Phantom)
	fmt.Fprintf(out, "restored: %d writes to bring back, %d to leave out, lost %d, phantom %d\n", s.Expected, s.Excluded, s.RestoredLost, s.RestoredPhantom)
	fmt.Fprintf(out, "backups ms p50/p95/max %.0f / %.0f / %.0f, by attempts %v; restores %.0f / %.0f / %.0f\n", s.Backup.P50, s.Backup.P95, s.Backup.Max, s.Attempts,
		s.Restore.P50, s.Restore.P95, s.Restore.Max)
	for _, f := range s.Failing {
		fmt.Fprintf(out, "✗ round %d (%s): %v\n  again: %s\n", f.Round, f.What, f.Problems, f.Reproduce)
	}
}

// Good says whether every promise was kept.
func (s ProtectionSummary) Good() bool { return len(s.Failing) == 0 && s.Rounds > 0 && s.Expected > 0 }
