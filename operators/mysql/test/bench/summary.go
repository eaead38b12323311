package main

import (
	"fmt"
	"io"
	"math"
	"time"

	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// summary is the distribution of a phase's write gaps.
type summary struct {
	Runs int     `json:"runs"`
	P50  float64 `json:"p50_ms"`
	P95  float64 `json:"p95_ms"`
	Max  float64 `json:"max_ms"`
	// Lost counts acknowledged rows that were not there in the end; null if the rows could not be compared.
	Lost         *int64    `json:"lost"`
	Phantom      *int64    `json:"phantom"`
	Acknowledged *int64    `json:"acknowledged"`
	Gaps         []float64 `json:"gaps_ms"`
}

// summarize describes the gaps; without a verdict the rows count as not compared.
func summarize(gaps []time.Duration, verdict *history.Verdict) summary {
	s := summary{Runs: len(gaps), P50: milliseconds(history.Percentile(gaps, 50)), P95: milliseconds(history.Percentile(gaps, 95)),
		Max: milliseconds(history.Percentile(gaps, 100)), Gaps: []float64{}}
	for _, g := range gaps {
		s.Gaps = append(s.Gaps, milliseconds(g))
	}
	if verdict != nil {
		s.Lost, s.Phantom, s.Acknowledged = &verdict.Lost, &verdict.Phantom, &verdict.Acknowledged
	}
	return s
}

func milliseconds(d time.Duration) float64 {
	return math.Round(float64(d.Microseconds())/100) / 10
}

// figure is what is promised of a phase's 95th percentile.
type figure struct {
	phase, what string
	p95         float64
}

func figures() []figure {
	return []figure{
		{phase: "kill", what: "mysqld killed (-9)", p95: 500},
		{phase: "switchover", what: "switchover", p95: 300},
	}
}

// print writes the distributions next to the figures.
func (b *bench) print(out io.Writer) {
	fmt.Fprintf(out, "\n%-20s %5s %9s %9s %9s %6s   %s\n", "write gap", "runs", "p50 ms", "p95 ms", "max ms", "lost", "figure")
	for _, f := range figures() {
		s, measured := b.results[f.phase]
		if !measured {
			fmt.Fprintf(out, "%-20s not measured\n", f.what)
			continue
		}
		lost, judgement := "?", "missed"
		if s.Lost != nil {
			lost = fmt.Sprint(*s.Lost)
		}
		if s.Runs > 0 && s.P95 <= f.p95 {
			judgement = "reached"
		}
		fmt.Fprintf(out, "%-20s %5d %9.1f %9.1f %9.1f %6s   p95 <= %.0f ms: %s\n", f.what, s.Runs, s.P50, s.P95, s.Max, lost, f.p95, judgement)
	}
}
