package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/growth"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/protect"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
	"github.com/kapok-operators/kapok/shared/link"
)

// Peers is what the observer needs of the link.
type Peers interface {
	// Get returns what is known about a pod's agent.
	Get(namespace, pod string) (link.Peer, bool)
}

// ErrNotLeading says that the term of this replica's leadership is not known (yet): nothing may be decided.
var ErrNotLeading = errors.New("this replica does not lead")

// ErrDeposed says that the record is of a later leadership than this replica's: somebody else leads by now, and whatever
// this replica would do or write is out of date (I11). Its process ends as soon as it notices.
var ErrDeposed = errors.New("another replica of the operator leads in a later term")

// Observation is what was seen of one cluster.
type Observation struct {
	// Cluster is the newest state of the custom resource that is known. It is a copy.
	Cluster *v1alpha1.MySQLCluster
	// Topology is the part that decisions about roles rest on.
	Topology topology.Observation
	// Pods and Claims are the pods and data volume claims by instance name.
	Pods   map[string]*corev1.Pod
	Claims map[string]*corev1.PersistentVolumeClaim
	// Upgrading is the image that instances are to be made anew with, if any of them has another; "" otherwise.
	Upgrading string
	// Slices are the names of the EndpointSlices of the cluster that exist.
	Slices map[string]bool
	// Backups are the MySQLBackups of the cluster.
	Backups []v1alpha1.MySQLBackup
	// Drilled is the MySQLCluster that has the name of a restore drill of this one; nil if there is none.
	Drilled *protect.Drilled
	// PodProblems says, by instance name, why a pod does not come up.
	PodProblems map[string]PodProblem
	// ExporterProblems says, by instance name, why the exporter beside mysqld does not run.
	ExporterProblems map[string]string
	// Unreadable says, by instance name, why an agent's report could not be understood.
	Unreadable map[string]string
}

// Growth decides how large the volume claim of an instance is to be; there is one.
func (o *Observation) Growth(instanceName string) growth.Decision {
	in := growth.Input{Claim: o.Claims[instanceName], Storage: o.Cluster.Spec.Storage}
	if m := o.Topology.Member(instanceName); m != nil && m.Connected {
		in.Report = m.Report
	}
	return growth.Decide(in)
}

// Observer gathers observations. It is safe for concurrent use on different clusters.
type Observer struct {
	// Cached reads from the operator's cache, Live from the API server.
	Cached, Live client.Reader
	// Peers are the agents.
	Peers Peers
	// Term is the leadership term; false while this replica does not lead.
	Term func() (uint64, bool)
	// Inherits says that the leader before this one let its leadership run out, so that no lease of its granting is in
	// force any more and what this replica heard while it stood by counts. Nil: it does not.
	Inherits func() bool
	// Outdated says whether a pod was made from another template than the cluster has now.
	Outdated func(*v1alpha1.MySQLCluster, *corev1.Pod) bool
	// Image is what instances of a cluster are made with.
	Image func(*v1alpha1.MySQLCluster) string
	// Now is the clock.
	Now func() time.Time

	mu     sync.Mutex
	memory map[types.NamespacedName]*memory
}

// memory is what outlives one look at a cluster.
type memory struct {
	// cluster is the newest state of the custom resource that was read or written.
	cluster *v1alpha1.MySQLCluster
	members map[string]*memberMemory
	marker  topology.Marker
}

type memberMemory struct {
	firstLooked time.Time
	epoch       uint64
	unfitSince  time.Time
}

// Observe looks at one cluster; it returns nil if there is none. ErrNotLeading and ErrDeposed mean that this replica has
// nothing to do with it, now or any more.
func (o *Observer) Observe(ctx context.Context, name types.NamespacedName) (*Observation, error) {
	cluster, err := o.cluster(ctx, name)
	if err != nil || cluster == nil {
		return nil, err
	}
	term, leading := o.Term()
	if !leading {
		return nil, ErrNotLeading
	}
	cluster = o.newest(name, cluster)
	if record := Record(cluster.Status.Record); record.Term > term {
		return nil, fmt.Errorf("%w: %d, and this one of %d", ErrDeposed, record.Term, term)
	}
	out := &Observation{
		Cluster: cluster, Pods: map[string]*corev1.Pod{}, Claims: map[string]*corev1.PersistentVolumeClaim{},
		Slices: map[string]bool{}, PodProblems: map[string]PodProblem{}, ExporterProblems: map[string]string{}, Unreadable: map[string]string{},
	}
	out.Topology = topology.Observation{
		Now: o.Now(), Term: term, Spec: spec(cluster), Record: Record(cluster.Status.Record), Request: request(cluster),
	}
	if err := o.objects(ctx, cluster, out); err != nil {
		return nil, err
	}
	o.members(name, out)
	return out, nil
}

// cluster reads the custom resource: live the first time, so that no record of an earlier leader is missed, then cached.
func (o *Observer) cluster(ctx context.Context, name types.NamespacedName) (*v1alpha1.MySQLCluster, error) {
	reader := o.Cached
	if !o.knows(name) {
		reader = o.Live
	}
	var cluster v1alpha1.MySQLCluster
	err := reader.Get(ctx, name, &cluster)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read MySQLCluster %s: %w", name, err)
	}
	return &cluster, nil
}

func (o *Observer) objects(ctx context.Context, cluster *v1alpha1.MySQLCluster, out *Observation) error {
	in := client.InNamespace(cluster.Namespace)
	labels := client.MatchingLabels(manifest.SelectorLabels(cluster.Name))
	var pods corev1.PodList
	if err := o.Cached.List(ctx, &pods, in, labels); err != nil {
		return fmt.Errorf("list the pods of %s: %w", cluster.Name, err)
	}
	for i := range pods.Items {
		out.Pods[pods.Items[i].Name] = &pods.Items[i]
	}
	var claims corev1.PersistentVolumeClaimList
	if err := o.Cached.List(ctx, &claims, in, labels); err != nil {
		return fmt.Errorf("list the volume claims of %s: %w", cluster.Name, err)
	}
	for i := range claims.Items {
		if pod, ok := strings.CutPrefix(claims.Items[i].Name, manifest.DataVolume+"-"); ok {
			out.Claims[pod] = &claims.Items[i]
		}
	}
	backups, err := o.Backups(ctx, client.ObjectKeyFromObject(cluster))
	if err != nil {
		return err
	}
	out.Backups = backups
	if out.Drilled, err = o.drilled(ctx, client.ObjectKey{Namespace: cluster.Namespace, Name: protect.DrillName(cluster.Name)}); err != nil {
		return err
	}
	var slices discoveryv1.EndpointSliceList
	if err := o.Cached.List(ctx, &slices, in, labels); err != nil {
		return fmt.Errorf("list the endpoint slices of %s: %w", cluster.Name, err)
	}
	for _, slice := range slices.Items {
		out.Slices[slice.Name] = true
		for _, endpoint := range slice.Endpoints {
			switch service := slice.Labels[discoveryv1.LabelServiceName]; {
			case endpoint.TargetRef == nil:
			case service == manifest.ReadWriteService(cluster.Name):
				out.Topology.ReadWrite = endpoint.TargetRef.Name
			case service == manifest.ReadService(cluster.Name):
				out.Topology.Readable = append(out.Topology.Readable, endpoint.TargetRef.Name)
			}
		}
	}
	return nil
}

// members lists every instance that exists, is wanted or is part of the record, gaps filled, and what its agent says.
func (o *Observer) members(name types.NamespacedName, out *Observation) {
	top := out.Topology.Spec.Instances
	reach := func(instanceName string) {
		if n, ok := ordinal(name.Name, instanceName); ok {
			top = max(top, n+1)
		}
	}
	for pod := range out.Pods {
		reach(pod)
	}
	if out.Topology.Record.Epoch == 0 {
		// A volume from before the cluster may hold the only copy of something, wanted or not (I9).
		for instanceName, claim := range out.Claims {
			if IsOld(claim, out.Cluster) {
				reach(instanceName)
			}
		}
	}
	for _, voter := range out.Topology.Record.Voters {
		reach(voter)
	}
	reach(out.Topology.Record.Primary)
	for i := range top {
		out.Topology.Members = append(out.Topology.Members, o.member(name, out, i))
	}
	o.remember(name, out)
}

func (o *Observer) member(cluster types.NamespacedName, out *Observation, ordinal int) topology.Member {
	m := topology.Member{Name: manifest.InstanceName(cluster.Name, ordinal), Ordinal: ordinal}
	if claim := out.Claims[m.Name]; claim != nil {
		m.OldVolume = IsOld(claim, out.Cluster)
	}
	pod := out.Pods[m.Name]
	if pod != nil {
		m.Pod = &topology.Pod{
			IP: pod.Status.PodIP, Terminating: pod.DeletionTimestamp != nil, Outdated: o.Outdated(out.Cluster, pod),
			Ready: isReady(pod), Unschedulable: unschedulable(pod),
		}
		if image := o.Image(out.Cluster); imageOf(pod) != image {
			out.Upgrading = image
		}
		if problem, ok := problemOf(pod); ok {
			out.PodProblems[m.Name] = problem
		}
		if why := exporterProblem(pod); why != "" {
			out.ExporterProblems[m.Name] = why
		}
	}
	peer, ok := o.Peers.Get(cluster.Namespace, m.Name)
	if !ok || len(peer.Snapshot) == 0 {
		return m
	}
	var report instance.Report
	if err := json.Unmarshal(peer.Snapshot, &report); err != nil {
		out.Unreadable[m.Name] = "its agent's report cannot be read: " + err.Error()
		return m
	}
	executed, errExecuted := gtid.Parse(report.Executed)
	held, errHeld := gtid.Parse(report.Received)
	if errExecuted != nil || errHeld != nil {
		out.Unreadable[m.Name] = "its GTID sets cannot be read"
		return m
	}
	m.Report, m.Executed, m.Held = &report, executed, held.Union(executed)
	// A report of an earlier pod of the name is history: it says what the volume held, not that anybody listens.
	m.Connected = peer.Connected && !peer.Silent && pod != nil && string(pod.UID) == peer.Key.UID
	if !m.Connected {
		m.Silence = out.Topology.Now.Sub(peer.HeartbeatAt)
	}
	return m
}

// IsOld says whether a volume claim is from before the cluster.
func IsOld(claim *corev1.PersistentVolumeClaim, cluster *v1alpha1.MySQLCluster) bool {
	return claim.CreationTimestamp.Before(&cluster.CreationTimestamp)
}

// remember counts since when members have been unfit in the committed epoch, and silent if they were never heard.
func (o *Observer) remember(name types.NamespacedName, out *Observation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	mem, now := o.memory[name], out.Topology.Now
	if mem.members == nil {
		mem.members = map[string]*memberMemory{}
	}
	for i := range out.Topology.Members {
		m := &out.Topology.Members[i]
		known := mem.members[m.Name]
		if known == nil || known.epoch != out.Topology.Record.Epoch {
			first := now
			if known != nil {
				first = known.firstLooked
			}
			known = &memberMemory{firstLooked: first, epoch: out.Topology.Record.Epoch}
			mem.members[m.Name] = known
		}
		if m.Report == nil {
			m.Silence = now.Sub(known.firstLooked)
		} else if !m.Connected && (o.Inherits == nil || !o.Inherits()) {
			// Nobody is condemned for silence from before this operator began to lead: the leader before may have heard it
			// and granted it a lease.
			m.Silence = min(m.Silence, now.Sub(known.firstLooked))
		}
		switch {
		case out.Topology.Fit(m):
			known.unfitSince = time.Time{}
		case known.unfitSince.IsZero():
			known.unfitSince = now
		default:
			m.UnfitFor = now.Sub(known.unfitSince)
		}
	}
	mem.marker.Note(&out.Topology)
}

func (o *Observer) knows(name types.NamespacedName) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.memory[name] != nil
}

// newest returns the newer of what was read and what this process has read or written before. A cache may show less: it
// lags behind this process's own commits, and after a start, behind an API server that lags, behind what was read live. An
// old specification would undo what a newer one has asked for.
func (o *Observer) newest(name types.NamespacedName, cluster *v1alpha1.MySQLCluster) *v1alpha1.MySQLCluster {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.memory == nil {
		o.memory = map[types.NamespacedName]*memory{}
	}
	mem := o.memory[name]
	switch {
	case mem == nil, mem.cluster.UID != cluster.UID && !newer(mem.cluster, cluster):
		mem = &memory{cluster: cluster.DeepCopy()}
		o.memory[name] = mem
	case !newer(mem.cluster, cluster):
		mem.cluster = cluster.DeepCopy()
	}
	return mem.cluster.DeepCopy()
}

// Committed tells the observer of a state of the custom resource that this process has just written or read live, so that a
// lagging cache does not hide it.
func (o *Observer) Committed(cluster *v1alpha1.MySQLCluster) {
	o.newest(client.ObjectKeyFromObject(cluster), cluster)
}

// Forget drops what is remembered of a cluster that is gone.
func (o *Observer) Forget(name types.NamespacedName) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.memory, name)
}

// newer says whether the first of two states is the newer one. The API server promises that versions of one resource are
// decimal numbers that grow (KEP-5504), whichever objects they are of.
func newer(a, b *v1alpha1.MySQLCluster) bool { return version(a) > version(b) }

// version is a resource version as a number. One that is no number counts as oldest: the other one is used.
func version(cluster *v1alpha1.MySQLCluster) uint64 {
	number, err := strconv.ParseUint(cluster.ResourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return number
}

// ordinal returns the number of an instance of the cluster.
func ordinal(cluster, name string) (int, bool) {
	suffix, ok := strings.CutPrefix(name, cluster+"-")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(suffix)
	return n, err == nil && n >= 0 && n < maxOrdinal
}

// maxOrdinal bounds what a stray pod name can make of the member list.
const maxOrdinal = 32
