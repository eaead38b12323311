package gtid

// Of returns the part of the set that the given server generated, its tagged transactions included.
func (s Set) Of(server string) Set {
	out := make(map[source][]interval)
	for src, runs := range s.runs {
		if src.uuid == server {
			out[src] = runs
		}
	}
	return Set{runs: out}
}

// Without returns the set less what the given server generated.
func (s Set) Without(server string) Set { return s.Subtract(s.Of(server)) }
