package chaos

import (
	"slices"
	"time"

	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// Result is what became of a round.
type Result struct {
	Round
	// Injected are the faults as they happened.
	Injected []injected `json:"injected"`
	// Converged: the cluster was whole again within the round's bound; Seen is what it was doing otherwise.
	Converged bool   `json:"converged"`
	Seen      string `json:"seen,omitempty"`
	// Whole is how long after the last fault was over the cluster was whole again.
	Whole time.Duration `json:"whole"`
	// Gap is the longest time without an acknowledged write, over all clients.
	Gap time.Duration `json:"gap"`
	Phases
	// EpochBefore and EpochAfter are the committed epochs.
	EpochBefore int64 `json:"epochBefore"`
	EpochAfter  int64 `json:"epochAfter"`
	Verdict
}

// Verdict is what the round's history says.
type Verdict struct {
	// Acknowledged counts the writes that clients were told are done; Unknown those of which nobody knows.
	Acknowledged int64 `json:"acknowledged"`
	Unknown      int64 `json:"unknown"`
	Reads        int64 `json:"reads"`
	// Lost counts acknowledged writes that are not there; Phantom what is there and should not be.
	Lost    int64 `json:"lost"`
	Phantom int64 `json:"phantom"`
	// Disordered counts what reads and final lists say against the order of time.
	Disordered int64 `json:"disordered"`
	// NotLinearizable counts registers without any order that explains them; Undecided those for which that took too long
	// to say.
	NotLinearizable int64 `json:"notLinearizable"`
	Undecided       int64 `json:"undecided"`
	// Malformed counts operations that cannot be judged: the recorder itself is wrong.
	Malformed int64 `json:"malformed"`
	// DualWriters counts writes that were acknowledged by an instance whose epoch was over.
	DualWriters int64 `json:"dualWriters"`
	// StaleReads counts reads through the read-write Service that missed an acknowledged write, StaleFor is the oldest of them.
	StaleReads int64         `json:"staleReads"`
	StaleFor   time.Duration `json:"staleFor"`
	// ReplicaDiverged counts reads of replicas that showed what the primary does not have in the end.
	ReplicaDiverged int64 `json:"replicaDiverged"`
	// Examples are the first findings, in words.
	Examples []string `json:"examples,omitempty"`
}

// staleLimit is how old what an isolated primary still shows may be (mysql.md: < 6 s).
const staleLimit = 6 * time.Second

// failedOver says whether the epoch changed.
func (r Result) failedOver() bool { return r.EpochAfter > r.EpochBefore }

// key names what the round did, for the table: its fault, or that several overlapped.
func (r Result) key() string {
	if len(r.Faults) == 1 {
		return string(r.Faults[0].Kind)
	}
	return "overlapping"
}

// counted returns how many faults were injected.
func (r Result) counted() int {
	n := 0
	for _, i := range r.Injected {
		if i.Failed == "" {
			n++
		}
	}
	return n
}

// Distribution is how a time was distributed over rounds, in milliseconds.
type Distribution struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	Max float64 `json:"max"`
}

func distribution(times []time.Duration) Distribution {
	ms := func(p float64) float64 {
		return float64(history.Percentile(times, p).Round(time.Millisecond) / time.Millisecond)
	}
	return Distribution{N: len(times), P50: ms(50), P95: ms(95), Max: ms(100)}
}

// ByFault are the figures of the rounds of one kind of fault.
type ByFault struct {
	Rounds    int          `json:"rounds"`
	Failovers int          `json:"failovers"`
	Detect    Distribution `json:"detect_ms"`
	Promote   Distribution `json:"promote_ms"`
	Gap       Distribution `json:"gap_ms"`
	Whole     Distribution `json:"whole_ms"`
}

// Summary is a campaign in figures: .out/chaos.json.
type Summary struct {
	Seed          uint64             `json:"seed"`
	From          int                `json:"from"`
	Rounds        int                `json:"rounds"`
	Faults        int                `json:"faults"`
	NotInjected   int                `json:"not_injected"`
	Acknowledged  int64              `json:"acknowledged"`
	Unknown       int64              `json:"unknown"`
	Reads         int64              `json:"reads"`
	Lost          int64              `json:"lost"`
	Phantom       int64              `json:"phantom"`
	Disordered    int64              `json:"disordered"`
	NotLinear     int64              `json:"not_linearizable"`
	Undecided     int64              `json:"undecided"`
	DualWriters   int64              `json:"dual_writers"`
	StaleReads    int64              `json:"stale_reads"`
	StaleMax      float64            `json:"stale_reads_max_ms"`
	ReplicaBehind int64              `json:"replica_reads_diverged"`
	Unconverged   int                `json:"unconverged"`
	Gap           Distribution       `json:"gap_ms"`
	ByFault       map[string]ByFault `json:"by_fault"`
	Failing       []Failing          `json:"failing,omitempty"`
}

// Failing is a round that broke a promise, and how to see it again.
type Failing struct {
	Round     int      `json:"round"`
	What      string   `json:"what"`
	Problems  []string `json:"problems"`
	Reproduce string   `json:"reproduce"`
}

// Summarize puts a campaign's results into figures.
func Summarize(seed uint64, from int, results []Result) Summary {
	s := Summary{Seed: seed, From: from, Rounds: len(results), ByFault: map[string]ByFault{}}
	groups := map[string][]Result{}
	var gaps []time.Duration
	for _, r := range results {
		s.add(r)
		groups[r.key()] = append(groups[r.key()], r)
		if r.failedOver() {
			gaps = append(gaps, r.Gap)
		}
	}
	s.Gap = distribution(gaps)
	for key, group := range groups {
		s.ByFault[key] = byFault(group)
	}
	return s
}

func (s *Summary) add(r Result) {
	s.Faults += r.counted()
	s.NotInjected += len(r.Injected) - r.counted()
	s.Acknowledged += r.Acknowledged
	s.Unknown += r.Unknown
	s.Reads += r.Reads
	s.Lost += r.Lost
	s.Phantom += r.Phantom
	s.Disordered += r.Disordered
	s.NotLinear += r.NotLinearizable
	s.Undecided += r.Undecided
	s.DualWriters += r.DualWriters
	s.StaleReads += r.StaleReads
	s.StaleMax = max(s.StaleMax, float64(r.StaleFor.Round(time.Millisecond)/time.Millisecond))
	s.ReplicaBehind += r.ReplicaDiverged
	if !r.Converged {
		s.Unconverged++
	}
	if problems := r.problems(); len(problems) > 0 {
		s.Failing = append(s.Failing, Failing{Round: r.Number, What: r.String(), Problems: problems, Reproduce: r.reproduce()})
	}
}

func byFault(group []Result) ByFault {
	b := ByFault{Rounds: len(group)}
	var detect, promote, gap, whole []time.Duration
	for _, r := range group {
		gap = append(gap, r.Gap)
		if r.Converged {
			whole = append(whole, r.Whole)
		}
		if !r.failedOver() {
			continue
		}
		b.Failovers++
		if r.Detected > 0 {
			detect = append(detect, r.Detected)
		}
		if r.Promoted > 0 {
			promote = append(promote, r.Promoted)
		}
	}
	b.Detect, b.Promote, b.Gap, b.Whole = distribution(detect), distribution(promote), distribution(gap), distribution(whole)
	return b
}

// kinds returns the keys of the table in the order in which faults are listed.
func (s Summary) kinds() []string {
	var keys []string
	for _, t := range traits() {
		if _, there := s.ByFault[string(t.kind)]; there {
			keys = append(keys, string(t.kind))
		}
	}
	for key := range s.ByFault {
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// Good says whether every promise was kept.
func (s Summary) Good() bool { return len(s.Failing) == 0 && s.Rounds > 0 && s.Acknowledged > 0 }
