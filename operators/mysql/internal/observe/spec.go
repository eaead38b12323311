package observe

import (
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
)

// spec is what the user wants, as topology knows it.
func spec(cluster *v1alpha1.MySQLCluster) topology.Spec {
	out := topology.Spec{
		Instances:       int(cluster.Spec.Instances),
		Restore:         cluster.Spec.Restore != nil,
		ManualFailover:  cluster.Spec.HA.Failover == v1alpha1.FailoverManual,
		BufferPoolBytes: bufferPool(cluster),
	}
	if len(cluster.Spec.Configuration) > 0 {
		out.Config = make(map[string]string, len(cluster.Spec.Configuration))
		for option, value := range cluster.Spec.Configuration {
			out.Config[option] = string(value)
		}
	}
	for _, user := range cluster.Spec.Users {
		out.Users = append(out.Users, instance.User{
			Name: user.Name, Database: user.Database, Access: instance.Access(user.Access),
		})
	}
	return out
}

func request(cluster *v1alpha1.MySQLCluster) topology.Request {
	return topology.Request{
		Switchover:   cluster.Annotations[v1alpha1.AnnotationSwitchover],
		ForcePromote: cluster.Annotations[v1alpha1.AnnotationForcePromote],
	}
}

const mebibyte = 1 << 20

// The shape of the default buffer pool: half of the memory, but leave mysqld what it needs besides (mysql-facts.md:
// 339 MB with performance_schema and a 32 MB pool), and never less than what is of any use.
const (
	besidesPool = 400 * mebibyte
	leastPool   = 32 * mebibyte
)

// bufferPool is innodb_buffer_pool_size in bytes: what the user says, or a share of the memory that the pod has.
func bufferPool(cluster *v1alpha1.MySQLCluster) int64 {
	if size := cluster.Spec.BufferPoolSize; size != nil {
		return size.Value()
	}
	memory := memoryOf(cluster.Spec.Resources.Limits)
	if memory == nil {
		memory = memoryOf(cluster.Spec.Resources.Requests)
	}
	if memory == nil {
		return 0
	}
	return max(leastPool, min(memory.Value()/2, memory.Value()-besidesPool))
}

func memoryOf(amounts *v1alpha1.ResourceAmounts) *resource.Quantity {
	if amounts == nil {
		return nil
	}
	return amounts.Memory
}

// Record is the committed record of a status; the zero record if there is none.
func Record(record *v1alpha1.Record) instance.Record {
	if record == nil {
		return instance.Record{}
	}
	out := instance.Record{
		Epoch: uint64(max(0, record.Epoch)), Term: uint64(max(0, record.Term)), Primary: record.Primary, Voters: append([]string(nil), record.Voters...),
	}
	if c := record.Change; c != nil {
		out.Change = &instance.VoterChange{Add: c.Add, Remove: c.Remove, Why: c.Why}
	}
	if h := record.Handover; h != nil {
		out.Handover = &instance.Handover{To: h.To, NotAfter: h.NotAfter, GivenUp: h.GivenUp, Why: h.Why}
	}
	return out
}
