package gtid

import "fmt"

// Builder collects transactions one by one, as a log file names them. Those that follow each other cost nothing. The zero Builder
// is empty.
type Builder struct {
	runs  map[source][]interval
	count uint64
	err   error
}

// Add adds the transactions first to last of a server, or of one of its tags.
func (b *Builder) Add(server, tag string, first, last uint64) {
	if first == 0 || last < first || last > maxNumber {
		if b.err == nil {
			b.err = fmt.Errorf("collect transactions: %s:%d-%d cannot be", server, first, last)
		}
		return
	}
	b.count += last - first + 1
	if b.runs == nil {
		b.runs = map[source][]interval{}
	}
	src := source{uuid: server, tag: tag}
	runs := b.runs[src]
	if n := len(runs); n > 0 && runs[n-1].last+1 == first {
		runs[n-1].last = last
		return
	}
	b.runs[src] = append(runs, interval{first, last})
}

// AddSet adds all transactions of a set.
func (b *Builder) AddSet(s Set) {
	for src, runs := range s.runs {
		for _, r := range runs {
			b.Add(src.uuid, src.tag, r.first, r.last)
		}
	}
}

// Count returns how many transactions were added. It is more than the set has if one was added twice.
func (b *Builder) Count() uint64 { return b.count }

// Set returns what was added so far. The error is that of the first transaction that cannot exist.
func (b *Builder) Set() (Set, error) {
	if b.err != nil {
		return Set{}, b.err
	}
	out := make(map[source][]interval, len(b.runs))
	for src, runs := range b.runs {
		out[src] = normalise(append([]interval(nil), runs...))
	}
	return Set{runs: out}, nil
}
