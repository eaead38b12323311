package controller

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/kapok-operators/kapok/operators/mysql/internal/act"
	"github.com/kapok-operators/kapok/operators/mysql/internal/observe"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
	"github.com/kapok-operators/kapok/shared/observability/jsonlog"
)

// hasteFor is how long rounds are made in haste when a cluster closes. What takes longer is worth a status that says so.
const hasteFor = time.Second

// pace remembers where each cluster stood a round ago: what is new is logged, and a cluster that has just closed for
// writers is looked after in haste.
type pace struct {
	mu       sync.Mutex
	clusters map[types.NamespacedName]*standing
}

type standing struct {
	state  topology.State
	why    string
	closed time.Time
}

func (p *pace) standing(name types.NamespacedName) *standing {
	if p.clusters == nil {
		p.clusters = map[types.NamespacedName]*standing{}
	}
	if p.clusters[name] == nil {
		p.clusters[name] = &standing{}
	}
	return p.clusters[name]
}

// of says with how much care the round is to be made.
func (p *pace) of(name types.NamespacedName, o topology.Observation, plan topology.Plan) act.Care {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.standing(name)
	if !plan.Closed() || o.ReadWrite == "" {
		s.closed = time.Time{}
		return act.Whole
	}
	if s.closed.IsZero() {
		s.closed = o.Now
	}
	if o.Now.Sub(s.closed) < hasteFor {
		return act.Haste
	}
	return act.Whole
}

// log tells what was decided and where the cluster stands, once each.
func (p *pace) log(ctx context.Context, name types.NamespacedName, obs *observe.Observation, plan topology.Plan, out act.Outcome) {
	log := ctrl.LoggerFrom(ctx)
	if c := out.Committed; c != nil {
		log.Info("Committed", append(about(obs, c.To.Primary),
			"step", string(c.Kind), "why", c.Why, "epoch", c.To.Epoch, "primary", c.To.Primary, "voters", c.To.Voters)...)
	}
	if out.Deleted != "" && plan.Delete != nil {
		log.Info("Deleted a pod", append(about(obs, out.Deleted), "why", plan.Delete.Why)...)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.standing(name)
	if s.state == plan.State && s.why == plan.Why {
		return
	}
	s.state, s.why = plan.State, plan.Why
	log.Info("The cluster stands", "state", string(plan.State), "why", plan.Why)
}

// about are the keys of a line that is about a pod.
func about(obs *observe.Observation, member string) []any {
	out := []any{jsonlog.KeyOperandPod, member}
	if pod := obs.Pods[member]; pod != nil {
		out = append(out, jsonlog.KeyOperandPodUID, string(pod.UID))
	}
	return out
}

// forget drops what is remembered of a cluster that is gone.
func (p *pace) forget(name types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.clusters, name)
}
