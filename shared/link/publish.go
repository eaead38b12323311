package link

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	bundleKeySuffix = ".pem"
	// publishInterval is the time between rounds. An agent whose only link is to
	// this replica learns of a new replica by it: until then the loss of this one
	// would leave the agent without any that it trusts. A round is one read.
	publishInterval = time.Second
	// sweepInterval is how often the operator's pods are listed, to find
	// authorities of replicas that are gone.
	sweepInterval = 10 * time.Second
	// newcomer is how young a published authority must be for its replica to be
	// left alone although nobody sees its pod yet.
	newcomer = 5 * time.Minute
)

// Publisher keeps the authorities of all operator replicas in one ConfigMap of
// the operator's namespace: one key per replica, owned by that replica alone.
// It needs get, create and patch on that ConfigMap.
type Publisher struct {
	// Writer applies and patches; required.
	Writer client.Writer
	// Reader reads the ConfigMap, cached or live; required.
	Reader client.Reader
	// Namespace and Name say which ConfigMap; required.
	Namespace, Name string
	// Labels are put on the ConfigMap.
	Labels map[string]string
	// Replica is this replica's pod name; required.
	Replica string
	// Authority is this replica's; required.
	Authority *Authority
	// Replicas lists the operator's pods that exist. Keys of others are
	// removed. Nil, or an error, removes expired authorities only.
	Replicas func(ctx context.Context) ([]string, error)
	// OnBundle receives the merged authorities of all replicas after each
	// round; usually Hub.SetTrust and a trigger for the copies in the
	// namespaces of the agents.
	OnBundle func(bundle []byte)
	// Interval is the time between rounds (default one second).
	Interval time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger receives failed rounds.
	Logger logr.Logger

	// swept is when the operator's pods were listed last.
	swept time.Time
}

// NeedLeaderElection says that every replica publishes its own authority.
func (p *Publisher) NeedLeaderElection() bool { return false }

// Start runs rounds until ctx ends. A failed round is logged and tried again.
func (p *Publisher) Start(ctx context.Context) error {
	interval := p.Interval
	if interval <= 0 {
		interval = publishInterval
	}
	const retry = time.Second
	for {
		wait := interval
		bundle, err := p.Sync(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // The round was cut short because the operator stops.
		case err != nil:
			p.Logger.Error(err, "Could not publish the link authority", "configmap", p.Namespace+"/"+p.Name)
			wait = retry
		case p.OnBundle != nil:
			p.OnBundle(bundle)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// Sync does one round: it publishes this replica's authority if it is not there
// yet, removes what is gone, and returns all authorities merged. It writes
// nothing if nothing has to change.
func (p *Publisher) Sync(ctx context.Context) ([]byte, error) {
	own, err := p.Authority.CAPEM()
	if err != nil {
		return nil, err
	}
	data, resourceVersion, err := p.read(ctx)
	if err != nil {
		return nil, err
	}
	ownKey := p.Replica + bundleKeySuffix
	if data[ownKey] != string(own) {
		if err := p.apply(ctx, ownKey, own); err != nil {
			return nil, err
		}
		// The resource version is out of date now; the rest waits for the next round.
		resourceVersion = ""
	}
	data[ownKey] = string(own)

	gone := p.gone(ctx, data, ownKey)
	if len(gone) > 0 && resourceVersion != "" {
		if err := p.remove(ctx, gone, resourceVersion); err != nil {
			return nil, err
		}
	}
	for _, key := range gone {
		delete(data, key)
	}
	bundles := make([][]byte, 0, len(data))
	for _, key := range slices.Sorted(maps.Keys(data)) {
		bundles = append(bundles, []byte(data[key]))
	}
	return MergeBundles(p.now(), bundles...), nil
}

func (p *Publisher) read(ctx context.Context) (map[string]string, string, error) {
	var cm corev1.ConfigMap
	err := p.Reader.Get(ctx, types.NamespacedName{Namespace: p.Namespace, Name: p.Name}, &cm)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, "", fmt.Errorf("read ConfigMap %s/%s: %w", p.Namespace, p.Name, err)
	}
	data := map[string]string{}
	for key, value := range cm.Data {
		if strings.HasSuffix(key, bundleKeySuffix) {
			data[key] = value
		}
	}
	return data, cm.ResourceVersion, nil
}

// apply writes this replica's key. Each replica is a field owner of its own, so
// that replicas never take each other's keys away.
func (p *Publisher) apply(ctx context.Context, key string, own []byte) error {
	cm := corev1ac.ConfigMap(p.Name, p.Namespace).
		WithLabels(p.Labels).
		WithData(map[string]string{key: string(own)})
	owner := client.FieldOwner("kapok-link-" + p.Replica)
	if err := p.Writer.Apply(ctx, cm, owner, client.ForceOwnership); err != nil {
		return fmt.Errorf("publish the link authority in ConfigMap %s/%s: %w", p.Namespace, p.Name, err)
	}
	return nil
}

// gone lists the keys to remove.
func (p *Publisher) gone(ctx context.Context, data map[string]string, ownKey string) []string {
	now := p.now()
	var live []string
	known := false
	if p.Replicas != nil && now.Sub(p.swept) >= sweepInterval {
		p.swept = now
		replicas, err := p.Replicas(ctx)
		if err != nil {
			p.Logger.Error(err, "Could not list the operator's replicas; keeping their authorities")
		}
		live, known = replicas, err == nil
	}
	var out []string
	for key, value := range data {
		replica := strings.TrimSuffix(key, bundleKeySuffix)
		switch {
		case key == ownKey:
		case BundleExpired(now, []byte(value)):
			out = append(out, key)
		case known && !slices.Contains(live, replica) && !isNewcomer(now, []byte(value)):
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// isNewcomer says whether an authority was made just now.
func isNewcomer(now time.Time, bundle []byte) bool {
	for _, cert := range ParseBundle(bundle) {
		if now.Sub(cert.NotBefore.Add(backdate)) < newcomer {
			return true
		}
	}
	return false
}

// remove deletes keys by a patch that holds only for the version that was read:
// two replicas may try at the same time, and one of them may be out of date.
func (p *Publisher) remove(ctx context.Context, keys []string, resourceVersion string) error {
	data := map[string]any{}
	for _, key := range keys {
		data[key] = nil
	}
	var patch bytes.Buffer
	if err := json.NewEncoder(&patch).Encode(map[string]any{
		"metadata": map[string]any{"resourceVersion": resourceVersion},
		"data":     data,
	}); err != nil {
		return fmt.Errorf("encode the removal of link authorities: %w", err)
	}
	cm := &corev1.ConfigMap{}
	cm.Namespace, cm.Name = p.Namespace, p.Name
	err := p.Writer.Patch(ctx, cm, client.RawPatch(types.MergePatchType, patch.Bytes()))
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove link authorities from ConfigMap %s/%s: %w", p.Namespace, p.Name, err)
	}
	return nil
}

func (p *Publisher) now() time.Time {
	if p.Now != nil {
		return p.Now()
	}
	return time.Now()
}
