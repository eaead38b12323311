package topology

import "github.com/kapok-operators/kapok/operators/mysql/internal/instance"

// Retire closes the primary of a cluster that is being deleted, so that its mysqld can be stopped in peace, and says
// when that is done or nobody is there to be told. Nothing is committed: over kept volumes the cluster can be founded
// again from the record that the instances remember.
func Retire(o Observation) (Plan, bool) {
	p := &planner{o: o, roles: map[string]role{}}
	p.lookSoon()
	p.plan.Replicas = p.replicas()
	p.state(Changing, "the cluster is being deleted")
	primary := o.Primary()
	if !primary.alive() || !primary.leading(o.Record.Epoch) || primary.Report.Role == instance.RoleDrain && primary.Report.Drained {
		return p.finish(), true
	}
	p.lead(instance.RoleDrain)
	return p.finish(), false
}
