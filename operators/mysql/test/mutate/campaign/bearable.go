package campaign

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/api/resource"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/mutation"
)

const (
	// mostInstances is how many servers a small machine carries.
	mostInstances = 5
	// mostPool is the memory that each of them may take for its buffer pool, in bytes.
	mostPool = 256 << 20
	// leastCPU is the limit in thousandths below which mysqld does not come up within anybody's patience.
	leastCPU = 200
)

// bearable says whether a change does no harm to the machine, and leaves a cluster that can go on. What is left out is tried
// on the API server alone.
func (c *Campaign) bearable(change mutation.Change) bool {
	if change.Expect == mutation.Refused {
		return true
	}
	if change.Lasting && !c.grow {
		return false
	}
	raw, err := c.typed(change)
	if err != nil {
		// It does not fit the types, so that nobody can tell what it asks for.
		return false
	}
	spec := raw.Spec
	size := resource.MustParse("2Gi")
	// A value left out has its default, which is larger than the base.
	grows := spec.Storage.Size.Cmp(size) > 0 || spec.Storage.Size.IsZero()
	return spec.Instances <= mostInstances && pool(&spec) <= mostPool && (c.grow || !grows) &&
		(spec.Resources.Limits == nil || spec.Resources.Limits.CPU == nil || spec.Resources.Limits.CPU.MilliValue() >= leastCPU)
}

// typed is the cluster as the change wants it, without defaults.
func (c *Campaign) typed(change mutation.Change) (*mysqlv1.MySQLCluster, error) {
	spec, err := change.Spec(c.base)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return nil, err
	}
	var out mysqlv1.MySQLCluster
	return &out, json.Unmarshal(raw, &out)
}

// pool is about what the buffer pool of an instance takes.
func pool(spec *mysqlv1.MySQLClusterSpec) int64 {
	if spec.BufferPoolSize != nil {
		return spec.BufferPoolSize.Value()
	}
	for _, amounts := range []*mysqlv1.ResourceAmounts{spec.Resources.Limits, spec.Resources.Requests} {
		if amounts != nil && amounts.Memory != nil {
			return amounts.Memory.Value() / 2
		}
	}
	return 0
}
