package act

import (
	"encoding/json"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
	"github.com/kapok-operators/kapok/shared/link"
)

// Grants are the leases of primaries (I5): what the leading operator answers their heartbeats with. They live in memory
// alone; a new leader grants anew as soon as it has looked at a cluster.
type Grants struct {
	// Sure is how long from now on no other replica of the operator can lead; nil if there is no other. No lease is granted
	// that could outlast it: so whoever takes over because this leadership ran out need not wait for leases that it knows
	// nothing of (ADR 0008).
	Sure func() time.Duration

	mu      sync.RWMutex
	granted map[types.NamespacedName]json.RawMessage
}

// Renew grants the primary of the committed record its lease, or withholds it while the plan is to replace it.
func (g *Grants) Renew(name types.NamespacedName, o topology.Observation, plan topology.Plan) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if plan.State == topology.FailingOver || plan.State == topology.Waiting || o.Record.Primary == "" {
		delete(g.granted, name)
		return nil
	}
	grant, err := json.Marshal(instance.Grant{Term: o.Term, Epoch: o.Record.Epoch, Primary: o.Record.Primary})
	if err != nil {
		return err
	}
	if g.granted == nil {
		g.granted = map[types.NamespacedName]json.RawMessage{}
	}
	g.granted[name] = grant
	return nil
}

// Forget withdraws the grant of a cluster that is gone.
func (g *Grants) Forget(name types.NamespacedName) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.granted, name)
}

// Reply is the answer to a heartbeat of the given pod; empty if there is nothing to grant.
func (g *Grants) Reply(peer link.PeerKey) json.RawMessage {
	cluster, ok := ClusterOf(peer.Namespace, peer.Pod)
	if !ok {
		return nil
	}
	if g.Sure != nil && g.Sure() < topology.SelfFenceAfter {
		// The primary goes on all the same as long as it can prove that it has its quorum.
		return nil
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.granted[cluster]
}

// ClusterOf names the cluster that an instance's pod belongs to: pods are called after their cluster and ordinal.
func ClusterOf(namespace, pod string) (types.NamespacedName, bool) {
	i := strings.LastIndexByte(pod, '-')
	if i <= 0 {
		return types.NamespacedName{}, false
	}
	return types.NamespacedName{Namespace: namespace, Name: pod[:i]}, true
}
