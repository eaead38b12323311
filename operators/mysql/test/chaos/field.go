package chaos

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kapok-operators/kapok/hack/localcluster/provider"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

// injectTimeout bounds the beginning of a fault, undoTimeout its end: whatever was done to the cluster before may be in
// the way.
const (
	injectTimeout = 20 * time.Second
	undoTimeout   = 90 * time.Second
)

// field is where faults are injected.
type field struct {
	cluster *lab.Cluster
	nodes   lab.NodeFaults
	network provider.NetworkFaults
	control provider.ControlFaults
	volumes provider.VolumeFaults
}

// newField finds out what the cluster's provider can do.
func newField(c *lab.Cluster) *field {
	f := &field{cluster: c}
	f.nodes, _ = c.Abilities().(lab.NodeFaults)
	f.network, _ = c.Abilities().(provider.NetworkFaults)
	f.control, _ = c.Abilities().(provider.ControlFaults)
	f.volumes, _ = c.Abilities().(provider.VolumeFaults)
	return f
}

// abilities are what the field's provider can do.
func (f *field) abilities() []Need {
	var able []Need
	if f.nodes != nil {
		able = append(able, NeedNodes)
	}
	if f.network != nil {
		able = append(able, NeedNetwork)
	}
	if f.control != nil {
		able = append(able, NeedControl)
	}
	if f.volumes != nil {
		able = append(able, NeedVolumes)
	}
	return able
}

// scene is who is who when a round begins. It is looked up before anything breaks, because later nobody may answer.
type scene struct {
	primary  string
	replicas []string
	// nodes and volumes are where each instance runs and which volume it has.
	nodes, volumes map[string]string
	// leader is the operator's leading pod.
	leader string
}

// look looks the scene up.
func (f *field) look(ctx context.Context) (scene, error) {
	cluster, err := f.cluster.Get(ctx)
	if err != nil {
		return scene{}, err
	}
	sc := scene{primary: lab.Primary(cluster), nodes: map[string]string{}}
	pods, err := f.cluster.Pods(ctx)
	if err != nil {
		return scene{}, err
	}
	for name, pod := range pods {
		sc.nodes[name] = pod.Spec.NodeName
		if name != sc.primary {
			sc.replicas = append(sc.replicas, name)
		}
	}
	slices.Sort(sc.replicas)
	if sc.primary == "" || len(sc.replicas) == 0 {
		return scene{}, fmt.Errorf("the cluster has no primary with replicas: %s", lab.Describe(cluster))
	}
	if f.volumes != nil {
		if sc.volumes, err = f.cluster.Volumes(ctx); err != nil {
			return scene{}, err
		}
	}
	sc.leader, err = f.cluster.Leader(ctx)
	return sc, err
}

// victim is the instance that a fault meets.
func (sc scene) victim(f Fault) string {
	switch f.Kind {
	case KillReplicaServer, KillReplicaAgent, FreezeReplicaServer, DeleteReplicaPod, StopReplicaNode, CutReplicaNode, StallReplicaDisk:
		return sc.replicas[f.Replica%len(sc.replicas)]
	default:
		return sc.primary
	}
}

// all are all instances.
func (sc scene) all() []string { return append([]string{sc.primary}, sc.replicas...) }
