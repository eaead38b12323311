package topology

import "slices"

// WriteQuorum returns how many of n voters, the primary included, must hold a transaction before it is acknowledged.
func WriteQuorum(n int) int { return n/2 + 1 }

// ReadQuorum returns how many of n voters must be fenced and asked before one is promoted.
func ReadQuorum(n int) int { return n - WriteQuorum(n) + 1 }

// with returns the sorted voters and name; the argument stays as it is.
func with(voters []string, name string) []string {
	if slices.Contains(voters, name) {
		return slices.Clone(voters)
	}
	out := append(slices.Clone(voters), name)
	slices.Sort(out)
	return out
}

// without returns the voters but name; the argument stays as it is.
func without(voters []string, name string) []string {
	out := make([]string, 0, len(voters))
	for _, v := range voters {
		if v != name {
			out = append(out, v)
		}
	}
	return out
}
