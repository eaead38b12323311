package act

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	ac "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/observe"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// recordOwner is the field owner of status.record alone, so that no write of the rest of the status touches it.
const recordOwner = "kapok-mysql-record"

const jsonPatch = types.JSONPatchType

// commitTries bounds how often a commit is tried when only other parts of the object have changed meanwhile.
const commitTries = 4

// commit writes the record to etcd (I1), under the resource version of an object that holds the record the plan was made
// from, so that of two writers one fails. That object is the observed one, which saves a failover a round trip; if it has
// changed, or holds an older record than this process has committed, it is read live. If the record is another one by
// then, the commit is given up.
func (a *Actor) commit(ctx context.Context, obs *observe.Observation, commit topology.Commit, out *Outcome) {
	cluster := obs.Cluster
	err := a.volumesSeen(ctx, obs, commit)
	if err != nil {
		out.Failures = append(out.Failures, Failure{What: fmt.Sprintf("commit %s", commit.Kind), Err: err})
		return
	}
	for try := range commitTries {
		live := cluster
		if try > 0 || !sameRecord(observe.Record(cluster.Status.Record), commit.From) {
			if live, err = a.live(ctx, cluster); err != nil {
				break
			}
		}
		if live.UID != cluster.UID || !sameRecord(observe.Record(live.Status.Record), commit.From) {
			a.Memory.Committed(live)
			out.Overtaken = true
			return
		}
		desired := ac.MySQLCluster(live.Name, live.Namespace).WithResourceVersion(live.ResourceVersion).
			WithStatus(ac.MySQLClusterStatus().WithRecord(recordConfiguration(commit.To)))
		err = a.Client.Status().Apply(ctx, desired, client.FieldOwner(recordOwner), client.ForceOwnership)
		if err == nil {
			a.remember(live, desired, commit)
			out.Committed = &commit
			return
		}
		if !apierrors.IsConflict(err) {
			break
		}
	}
	out.Failures = append(out.Failures, Failure{What: fmt.Sprintf("commit %s", commit.Kind), Err: err})
}

// remember tells the observer of the commit to what was there before. The apply call has left the new resource version in
// desired.
func (a *Actor) remember(cluster *v1alpha1.MySQLCluster, desired *ac.MySQLClusterApplyConfiguration, commit topology.Commit) {
	after := cluster.DeepCopy()
	if desired.ResourceVersion != nil {
		after.ResourceVersion = *desired.ResourceVersion
	}
	after.Status.Record = apiRecord(commit.To)
	a.Memory.Committed(after)
}

func (a *Actor) live(ctx context.Context, cluster *v1alpha1.MySQLCluster) (*v1alpha1.MySQLCluster, error) {
	return readLive(ctx, a.Live, cluster)
}

func readLive(ctx context.Context, reader client.Reader, cluster *v1alpha1.MySQLCluster) (*v1alpha1.MySQLCluster, error) {
	var live v1alpha1.MySQLCluster
	if err := reader.Get(ctx, client.ObjectKeyFromObject(cluster), &live); err != nil {
		return nil, fmt.Errorf("read the record of %s live: %w", cluster.Name, err)
	}
	return &live, nil
}

// sameRecord compares records; an empty list and none are the same.
func sameRecord(a, b instance.Record) bool {
	if len(a.Voters) == 0 && len(b.Voters) == 0 {
		a.Voters, b.Voters = nil, nil
	}
	return reflect.DeepEqual(a, b)
}

func recordConfiguration(r instance.Record) *ac.RecordApplyConfiguration {
	out := ac.Record().WithEpoch(int64(r.Epoch)) //nolint:gosec // Epochs count failovers.
	if r.Term != 0 {
		out.WithTerm(int64(r.Term)) //nolint:gosec // Seconds and a count, below 2^53.
	}
	if r.Primary != "" {
		out.WithPrimary(r.Primary).WithVoters(r.Voters...)
	}
	if c := r.Change; c != nil {
		change := ac.VoterChange().WithWhy(bounded(c.Why))
		if c.Add != "" {
			change.WithAdd(c.Add)
		} else {
			change.WithRemove(c.Remove)
		}
		out.WithChange(change)
	}
	if h := r.Handover; h != nil {
		handover := ac.Handover().WithTo(h.To).WithNotAfter(h.NotAfter).WithWhy(bounded(h.Why))
		if h.GivenUp {
			handover.WithGivenUp(true)
		}
		out.WithHandover(handover)
	}
	return out
}

func apiRecord(r instance.Record) *v1alpha1.Record {
	out := &v1alpha1.Record{Epoch: int64(r.Epoch), Term: int64(r.Term), Primary: r.Primary, Voters: r.Voters} //nolint:gosec // Epochs count failovers.
	if c := r.Change; c != nil {
		out.Change = &v1alpha1.VoterChange{Add: c.Add, Remove: c.Remove, Why: bounded(c.Why)}
	}
	if h := r.Handover; h != nil {
		out.Handover = &v1alpha1.Handover{To: h.To, NotAfter: h.NotAfter, GivenUp: h.GivenUp, Why: bounded(h.Why)}
	}
	return out
}

// bounded keeps a sentence within what the API accepts.
func bounded(why string) string {
	const limit = 1000
	if len(why) <= limit {
		return why
	}
	return strings.ToValidUTF8(why[:limit], "")
}

// escape writes an annotation's name as a part of a JSON pointer.
func escape(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}
