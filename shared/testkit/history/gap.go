package history

import (
	"math"
	"slices"
	"sort"
	"time"
)

// Gap is a silence: the time between two acknowledgements that follow each other.
type Gap struct {
	From time.Duration `json:"from"`
	To   time.Duration `json:"to"`
	// Ended is false when no acknowledgement had come when the gap was measured; To is that time then.
	Ended bool `json:"ended"`
}

// Length is how long nobody was answered.
func (g Gap) Length() time.Duration { return g.To - g.From }

// Gaps returns every silence between acknowledgements that is longer than the threshold. The times must be in order.
func Gaps(acks []time.Duration, threshold time.Duration) []Gap {
	var gaps []Gap
	for i := 1; i < len(acks); i++ {
		if acks[i]-acks[i-1] > threshold {
			gaps = append(gaps, Gap{From: acks[i-1], To: acks[i], Ended: true})
		}
	}
	return gaps
}

// Widest returns the longest silence that touches the window from open to now: it may begin before the window with the
// last acknowledgement before the event, and it may not have ended yet. The times must be in order.
func Widest(acks []time.Duration, open, now time.Duration) Gap {
	// The first acknowledgement after the window opened ends the first silence that touches it.
	first := sort.Search(len(acks), func(i int) bool { return acks[i] > open })
	from := open
	if first > 0 {
		from = acks[first-1]
	}
	var widest Gap
	for i := first; i < len(acks) && from < now; i++ {
		if acks[i]-from > widest.Length() {
			widest = Gap{From: from, To: acks[i], Ended: true}
		}
		from = acks[i]
	}
	if now-from > widest.Length() {
		widest = Gap{From: from, To: now}
	}
	return widest
}

// within counts the times in the window.
func within(acks []time.Duration, open, now time.Duration) int {
	first := sort.Search(len(acks), func(i int) bool { return acks[i] > open })
	last := sort.Search(len(acks), func(i int) bool { return acks[i] > now })
	return last - first
}

// Percentile returns the value that p percent of the values do not exceed (nearest rank), 0 for no values.
func Percentile(values []time.Duration, p float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}
