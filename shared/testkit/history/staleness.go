package history

import (
	"slices"
	"time"
)

// Staleness is how far behind reads were. A read is stale by the time between the moment by which something newer was
// certainly there and the moment at which the read was invoked. Something is certainly there when it was acknowledged, or
// when another read that saw it has returned: no order of events lets it come later.
type Staleness struct {
	// Reads counts the reads that were judged, and Stale those of them that were stale.
	Reads int64 `json:"reads"`
	Stale int64 `json:"stale"`
	// Widest is how stale the stalest read was, and Worst names that read.
	Widest time.Duration `json:"widest"`
	Worst  string        `json:"worst,omitempty"`
	// StaleExamples names the first reads that were stale.
	StaleExamples []string `json:"staleExamples,omitempty"`
}

func (s *Staleness) add(read Operation, by time.Duration) {
	s.Stale++
	note(&s.StaleExamples, "%s: stale by %s", read, by)
	if by > s.Widest {
		s.Widest, s.Worst = by, read.String()
	}
}

// StaleWindow joins what several checkers found: over all reads, how stale the stalest one was.
func StaleWindow(parts ...Staleness) Staleness {
	var all Staleness
	for _, part := range parts {
		all.Reads += part.Reads
		all.Stale += part.Stale
		if part.Widest > all.Widest {
			all.Widest, all.Worst = part.Widest, part.Worst
		}
		room := min(len(part.StaleExamples), exampleCount-len(all.StaleExamples))
		all.StaleExamples = slices.Concat(all.StaleExamples, part.StaleExamples[:room])
	}
	return all
}
