package act

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/growth"
	"github.com/kapok-operators/kapok/operators/mysql/internal/observe"
)

// enlarge raises the claims that are smaller than they are to be: than the user wants, or than their fill demands. Whether the
// volumes can grow is up to their class.
func (k *KubernetesObjects) enlarge(ctx context.Context, obs *observe.Observation) ([]Grown, []Failure) {
	var grown []Grown
	var failures []Failure
	for _, instance := range slices.Sorted(maps.Keys(obs.Claims)) {
		claim := obs.Claims[instance]
		// A claim can be enlarged once it is bound.
		if claim.DeletionTimestamp != nil || claim.Status.Phase != corev1.ClaimBound {
			continue
		}
		decision := obs.Growth(instance)
		if !decision.Enlarges() {
			k.refusals.forget(claim.UID)
			continue
		}
		from, to := decision.From.String(), decision.To.String()
		what := fmt.Sprintf("enlarge volume claim %s from %s to %s", claim.Name, from, to)
		err := k.refusals.standing(claim.UID, to, obs.Topology.Now)
		if err == nil {
			err = k.raise(ctx, claim, decision)
			k.refusals.note(claim.UID, to, obs.Topology.Now, err)
		}
		switch {
		case err == nil:
			grown = append(grown, Grown{Instance: instance, From: from, To: to, Why: decision.Why})
		case apierrors.IsNotFound(err), apierrors.IsConflict(err):
			// It is gone, or has changed since it was observed, and is looked at again.
		case isRefusal(err):
			failures = append(failures, Failure{What: what, Reason: v1alpha1.ReasonExpansionRefused, Claim: instance,
				Err: fmt.Errorf("its volume cannot be enlarged from %s to %s: %w", from, to, err)})
		default:
			failures = append(failures, Failure{What: what, Err: err})
		}
	}
	return grown, failures
}

// raise writes what a claim asks for. It does so only to the claim as it was observed: what was decided from an older one could
// be less than the claim asks for by now.
func (k *KubernetesObjects) raise(ctx context.Context, claim *corev1.PersistentVolumeClaim, decision growth.Decision) error {
	larger := claim.DeepCopy()
	larger.Spec.Resources.Requests[corev1.ResourceStorage] = decision.To
	if decision.GrownFrom != "" {
		metav1.SetMetaDataAnnotation(&larger.ObjectMeta, growth.AnnotationGrownFrom, decision.GrownFrom)
	}
	return k.Client.Patch(ctx, larger, client.MergeFromWithOptions(claim, client.MergeFromWithOptimisticLock{})) //nolint:wrapcheck // The caller says what was being done.
}

// isRefusal says whether the API server will not have a larger claim: its class does not let volumes grow, or a quota is used up.
func isRefusal(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) }

// refusalStands is how long a refusal is taken for granted. A class can be changed to let volumes grow, and a quota raised.
const refusalStands = time.Minute

// refusals remembers what the API server has refused, so that it is told in every round and asked for once in a while: an
// instance that works reports all the time, and each report brings a round.
type refusals struct {
	mu    sync.Mutex
	known map[types.UID]refusal
}

type refusal struct {
	to  string
	at  time.Time
	err error
}

// standing is the refusal of a size that is too fresh to ask again; nil if there is none.
func (r *refusals) standing(claim types.UID, to string, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok := r.known[claim]; ok && known.to == to && now.Sub(known.at) < refusalStands {
		return known.err
	}
	return nil
}

// note remembers what came of asking. What is out of date goes, so that claims that are gone leave nothing behind.
func (r *refusals) note(claim types.UID, to string, now time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.known, func(_ types.UID, known refusal) bool { return now.Sub(known.at) >= refusalStands })
	delete(r.known, claim)
	if err == nil || !isRefusal(err) {
		return
	}
	if r.known == nil {
		r.known = map[types.UID]refusal{}
	}
	r.known[claim] = refusal{to: to, at: now, err: err}
}

// forget drops the refusal of a claim that is not to grow any more.
func (r *refusals) forget(claim types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, claim)
}
