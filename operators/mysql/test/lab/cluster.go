package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
)

// Account is the account that the lab writes as, and Database where it writes.
const (
	Account  = "app"
	Database = "app"
)

// Cluster is one MySQLCluster in the lab.
type Cluster struct {
	*Lab
	Key client.ObjectKey
}

// Cluster returns the MySQLCluster of that name, which need not exist yet.
func (l *Lab) Cluster(namespace, name string) *Cluster {
	return &Cluster{Lab: l, Key: client.ObjectKey{Namespace: namespace, Name: name}}
}

// Create creates the cluster with the lab's account and, unless there is one, the Secret with its password.
func (c *Cluster) Create(ctx context.Context, spec mysqlv1.MySQLClusterSpec) error {
	if err := c.UsersSecret(ctx, Account); err != nil {
		return err
	}
	return c.CreateBare(ctx, spec)
}

// CreateBare creates the cluster with the lab's account, but not the Secret with its password.
func (c *Cluster) CreateBare(ctx context.Context, spec mysqlv1.MySQLClusterSpec) error {
	spec.Users = append(spec.Users, mysqlv1.User{Name: Account, Database: Database})
	// A Go value cannot leave these fields out, as a manifest can.
	if spec.Storage.Size.IsZero() {
		spec.Storage.Size = resource.MustParse("1Gi")
	}
	if spec.HA.ProbeInterval.Duration == 0 {
		spec.HA.ProbeInterval.Duration = 10 * time.Second
	}
	cluster := &mysqlv1.MySQLCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.Key.Namespace, Name: c.Key.Name}, Spec: spec}
	if err := c.Client.Create(ctx, cluster); err != nil {
		return fmt.Errorf("create the MySQLCluster %s: %w", c.Key, err)
	}
	return nil
}

// UsersSecret makes a Secret with a random password for each account, unless there is a Secret.
func (c *Cluster) UsersSecret(ctx context.Context, accounts ...string) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.Key.Namespace, Name: c.Key.Name + "-users"},
		StringData: map[string]string{}}
	for _, a := range accounts {
		password := make([]byte, 12)
		rand.Read(password) // never fails, says its documentation
		secret.StringData[a] = hex.EncodeToString(password)
	}
	if err := c.Client.Create(ctx, secret); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create the Secret %s: %w", secret.Name, err)
	}
	return nil
}

// Get reads the cluster.
func (c *Cluster) Get(ctx context.Context) (*mysqlv1.MySQLCluster, error) {
	var cluster mysqlv1.MySQLCluster
	if err := c.Client.Get(ctx, c.Key, &cluster); err != nil {
		return nil, fmt.Errorf("read the MySQLCluster %s: %w", c.Key, err)
	}
	return &cluster, nil
}

// Update changes the cluster's spec, again if somebody else wrote meanwhile.
func (c *Cluster) Update(ctx context.Context, change func(spec *mysqlv1.MySQLClusterSpec)) error {
	for {
		cluster, err := c.Get(ctx)
		if err != nil {
			return err
		}
		change(&cluster.Spec)
		err = c.Client.Update(ctx, cluster)
		if !apierrors.IsConflict(err) {
			return err
		}
	}
}

// Describe says in one line what the cluster is doing.
func Describe(cluster *mysqlv1.MySQLCluster) string {
	s := cluster.Status
	parts := []string{string(s.Summary), s.Ready}
	if s.Record != nil && s.Record.Primary != "" {
		parts = append(parts, fmt.Sprintf("primary %s, epoch %d, voters %d", s.Record.Primary, s.Record.Epoch, len(s.Record.Voters)))
	}
	if ready := meta.FindStatusCondition(s.Conditions, mysqlv1.ConditionReady); ready != nil && ready.Status != metav1.ConditionTrue {
		parts = append(parts, ready.Reason+": "+ready.Message)
	}
	if s.ObservedGeneration != cluster.Generation {
		parts = append(parts, fmt.Sprintf("generation %d of %d", s.ObservedGeneration, cluster.Generation))
	}
	if s.ObservedEpoch != Epoch(cluster) {
		parts = append(parts, fmt.Sprintf("as of epoch %d", s.ObservedEpoch))
	}
	return strings.TrimSpace(strings.Join(parts, "  "))
}

// Healthy says whether the cluster is all that its spec asks for, and nothing is under way in it.
func Healthy(cluster *mysqlv1.MySQLCluster) bool {
	s := cluster.Status
	return s.ObservedGeneration == cluster.Generation && s.ObservedEpoch == Epoch(cluster) && meta.IsStatusConditionTrue(s.Conditions, mysqlv1.ConditionReady) &&
		!meta.IsStatusConditionTrue(s.Conditions, mysqlv1.ConditionProgressing) &&
		s.ReadyInstances == cluster.Spec.Instances && s.Record != nil && len(s.Record.Voters) == int(cluster.Spec.Instances)
}

// Epoch returns the committed epoch, 0 if there is none.
func Epoch(cluster *mysqlv1.MySQLCluster) int64 {
	if cluster.Status.Record == nil {
		return 0
	}
	return cluster.Status.Record.Epoch
}

// Primary returns the committed primary, empty if there is none.
func Primary(cluster *mysqlv1.MySQLCluster) string {
	if cluster.Status.Record == nil {
		return ""
	}
	return cluster.Status.Record.Primary
}

// WaitFor waits until the cluster satisfies the condition, and returns it.
func (c *Cluster) WaitFor(ctx context.Context, timeout time.Duration, what string,
	condition func(*mysqlv1.MySQLCluster) bool) (*mysqlv1.MySQLCluster, error) {
	var found *mysqlv1.MySQLCluster
	err := c.Wait(ctx, timeout, c.Key.Name+" "+what, func(ctx context.Context) (bool, string, error) {
		cluster, err := c.Get(ctx)
		if err != nil {
			return NotYet(err)
		}
		found = cluster
		return condition(cluster), Describe(cluster), nil
	})
	return found, err
}

// WaitHealthy waits until the cluster is all that its spec asks for, in an epoch of at least the given one.
func (c *Cluster) WaitHealthy(ctx context.Context, timeout time.Duration, epoch int64) (*mysqlv1.MySQLCluster, error) {
	what := "to be healthy"
	if epoch > 1 {
		what = fmt.Sprintf("to be healthy in epoch %d", epoch)
	}
	return c.WaitFor(ctx, timeout, what, func(cluster *mysqlv1.MySQLCluster) bool {
		return Healthy(cluster) && Epoch(cluster) >= epoch
	})
}

// WaitCondition waits until a condition has the status and the reason; an empty reason fits all.
func (c *Cluster) WaitCondition(ctx context.Context, timeout time.Duration, kind string, status metav1.ConditionStatus,
	reason string) (*metav1.Condition, error) {
	var found *metav1.Condition
	what := fmt.Sprintf("condition %s=%s %s", kind, status, reason)
	err := c.Wait(ctx, timeout, c.Key.Name+" "+what, func(ctx context.Context) (bool, string, error) {
		cluster, err := c.Get(ctx)
		if err != nil {
			return NotYet(err)
		}
		found = meta.FindStatusCondition(cluster.Status.Conditions, kind)
		if found == nil {
			return false, "not there; " + Describe(cluster), nil
		}
		done := found.Status == status && (reason == "" || found.Reason == reason) && found.ObservedGeneration == cluster.Generation
		return done, fmt.Sprintf("%s %s: %s", found.Status, found.Reason, found.Message), nil
	})
	return found, err
}

// Switchover asks for a planned change of the primary to the named instance, or to any.
func (c *Cluster) Switchover(ctx context.Context, to string) error {
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, mysqlv1.AnnotationSwitchover, to)
	cluster := &mysqlv1.MySQLCluster{ObjectMeta: metav1.ObjectMeta{Namespace: c.Key.Namespace, Name: c.Key.Name}}
	if err := c.Client.Patch(ctx, cluster, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("request a switchover of %s: %w", c.Key, err)
	}
	return nil
}

// Pods returns the pods of the cluster's instances by name.
func (c *Cluster) Pods(ctx context.Context) (map[string]corev1.Pod, error) {
	var list corev1.PodList
	if err := c.Client.List(ctx, &list, client.InNamespace(c.Key.Namespace)); err != nil {
		return nil, fmt.Errorf("list the pods of %s: %w", c.Key, err)
	}
	pods := map[string]corev1.Pod{}
	for _, p := range list.Items {
		ordinal, found := strings.CutPrefix(p.Name, c.Key.Name+"-")
		if found && ordinal != "" && strings.Trim(ordinal, "0123456789") == "" {
			pods[p.Name] = p
		}
	}
	return pods, nil
}

// NodeOf returns the node on which the instance runs.
func (c *Cluster) NodeOf(ctx context.Context, instance string) (string, error) {
	var pod corev1.Pod
	if err := c.Client.Get(ctx, client.ObjectKey{Namespace: c.Key.Namespace, Name: instance}, &pod); err != nil {
		return "", fmt.Errorf("find the node of %s: %w", instance, err)
	}
	if pod.Spec.NodeName == "" {
		return "", fmt.Errorf("find the node of %s: it is on none", instance)
	}
	return pod.Spec.NodeName, nil
}
