package chaos

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// problems says what is wrong with a round, in words.
func (r Result) problems() []string {
	var out []string
	if !r.Converged {
		out = append(out, fmt.Sprintf("not whole within %s: %s", r.Bound(), r.Seen))
	}
	for _, p := range []struct {
		n    int64
		what string
	}{
		{r.Lost, "acknowledged writes are lost"},
		{r.Phantom, "elements are there that should not be"},
		{r.Disordered, "observations contradict the order of time"},
		{r.NotLinearizable, "registers have no order that explains them"},
		{r.DualWriters, "writes were acknowledged by an instance whose epoch was over"},
		{r.Malformed, "operations were recorded that cannot be judged"},
	} {
		if p.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if r.StaleFor >= staleLimit {
		out = append(out, fmt.Sprintf("a read was %s behind, and the promise is less than %s", r.StaleFor, staleLimit))
	}
	if len(out) > 0 {
		out = append(out, r.Examples...)
	}
	return out
}

// reproduce is the command that makes the round again.
func (r Result) reproduce() string {
	only := ""
	if len(r.Only) > 0 {
		names := make([]string, 0, len(r.Only))
		for _, k := range r.Only {
			names = append(names, string(k))
		}
		only = "ONLY=" + strings.Join(names, ",") + " "
	}
	return fmt.Sprintf("%sSEED=%d FROM=%d FAULTS=1 make chaos", only, r.Seed, r.Number)
}

// tell says in one line what became of the round.
func (r Result) tell(faults int) string {
	mark := "✓"
	if len(r.problems()) > 0 {
		mark = "✗"
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s %4d  round %-4d %-58s gap %6d ms  whole after %6d ms  %5d acknowledged", mark, faults, r.Number, r.String(),
		r.Gap.Milliseconds(), r.Whole.Milliseconds(), r.Acknowledged)
	if r.failedOver() {
		fmt.Fprintf(&text, "  epoch %d, detected %d ms, promoted %d ms", r.EpochAfter, r.Detected.Milliseconds(), r.Promoted.Milliseconds())
	}
	if r.StaleReads > 0 {
		fmt.Fprintf(&text, "  %d stale reads, up to %d ms", r.StaleReads, r.StaleFor.Milliseconds())
	}
	for _, i := range r.Injected {
		if i.Failed != "" {
			fmt.Fprintf(&text, "  (%s not injected: %s)", i.Kind, i.Failed)
		}
	}
	return text.String()
}

// Print writes the distributions as a table.
func (s Summary) Print(out io.Writer) {
	fmt.Fprintf(out, "\n%-24s %6s %9s  %-22s %-22s %-22s %-22s\n", "fault", "rounds", "failovers", "detected ms p50/p95", "promoted ms p50/p95",
		"gap ms p50/p95/max", "whole ms p50/p95/max")
	two := func(d Distribution) string { return fmt.Sprintf("%.0f / %.0f", d.P50, d.P95) }
	three := func(d Distribution) string { return fmt.Sprintf("%.0f / %.0f / %.0f", d.P50, d.P95, d.Max) }
	for _, key := range s.kinds() {
		b := s.ByFault[key]
		fmt.Fprintf(out, "%-24s %6d %9d  %-22s %-22s %-22s %-22s\n", key, b.Rounds, b.Failovers, two(b.Detect), two(b.Promote), three(b.Gap), three(b.Whole))
	}
	fmt.Fprintf(out, "\nseed %d, rounds %d to %d, %d faults (%d could not be injected): %d writes acknowledged, %d of unknown outcome, %d reads\n",
		s.Seed, s.From, s.From+s.Rounds-1, s.Faults, s.NotInjected, s.Acknowledged, s.Unknown, s.Reads)
	fmt.Fprintf(out, "lost %d, phantom %d, disordered %d, not linearizable %d (undecided %d), dual writers %d, stale reads %d (at most %.0f ms), unconverged %d\n",
		s.Lost, s.Phantom, s.Disordered, s.NotLinear, s.Undecided, s.DualWriters, s.StaleReads, s.StaleMax, s.Unconverged)
	for _, f := range s.Failing {
		fmt.Fprintf(out, "✗ round %d (%s): %v\n  again: %s\n", f.Round, f.What, f.Problems, f.Reproduce)
	}
}

// rawHistory is the file that keeps every operation of a campaign, compressed.
type rawHistory struct {
	file   *os.File
	packed *gzip.Writer
}

func newRawHistory(path string) (*rawHistory, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of the raw history: %w", err)
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("make the file of the raw history: %w", err)
	}
	return &rawHistory{file: file, packed: gzip.NewWriter(file)}, nil
}

// add appends a round's operations. They are on the file before the next round begins.
func (h *rawHistory) add(ops []history.Operation) error {
	if err := errors.Join(history.Write(h.packed, ops), h.packed.Flush()); err != nil {
		return fmt.Errorf("keep the raw history: %w", err)
	}
	return nil
}

func (h *rawHistory) close() error {
	if err := errors.Join(h.packed.Close(), h.file.Close()); err != nil {
		return fmt.Errorf("end the raw history: %w", err)
	}
	return nil
}

// milliseconds of a duration, for messages.
func milliseconds(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }
