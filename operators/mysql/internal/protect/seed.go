package protect

import (
	"slices"
	"strconv"
	"strings"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// seed says where an instance that is to be cloned may be restored from instead; nil where it is not to be. Only one that holds nothing is: what any
// other holds has to be archived, and to stay until the rest is there. Whether what is stored fits what the primary holds then, the instance asks
// itself: it takes a while until it gets there.
func (x *scene) seed(member string, d instance.Directive) *instance.SeedDuty {
	b := x.Cluster.Spec.Backup
	if d.Role != instance.RoleClone || d.Clone == nil || !b.SeedReplicas || len(b.Recipients) > 0 {
		return nil
	}
	i := slices.IndexFunc(x.Observation.Members, func(m topology.Member) bool { return m.Name == member })
	if i < 0 {
		return nil
	}
	r := x.Observation.Members[i].Report
	if r == nil || !r.Blank || r.Seed != nil && r.Seed.State == instance.RestoreFailed {
		return nil
	}
	newest := x.newestListed()
	if newest == nil || newest.Sealed || !reads(r.ServerVersion, newest.Version) {
		return nil
	}
	return &instance.SeedDuty{Store: manifest.Store(x.target), Cluster: string(x.Cluster.UID)}
}

// newestListed is the newest full backup that is stored; nil if there is none, or nobody knows.
func (x *scene) newestListed() *instance.StoredFull {
	if x.archive == nil || !x.archive.Listed || len(x.archive.Stored) == 0 {
		return nil
	}
	return &x.archive.Stored[len(x.archive.Stored)-1]
}

// reads says whether a server can read the data of another, as far as their versions tell: those of a newer one it cannot.
func reads(server, data string) bool {
	s, ok := release(server)
	d, known := release(data)
	return ok && known && slices.Compare(d, s) <= 0
}

// release returns the numbers at the beginning of a server's version, such as 9.7.1 of 9.7.1-log.
func release(version string) (numbers []int, ok bool) {
	version, _, _ = strings.Cut(version, "-")
	for part := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, false
		}
		numbers = append(numbers, n)
	}
	return numbers, true
}
