//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/shared/secretguard"
)

// TestNamespaceIsStrict: the cluster of all scenarios lives in a namespace that lets in neither a pod that takes a password
// into its environment nor one with more rights than the restricted standard gives.
func TestNamespaceIsStrict(t *testing.T) {
	refused := func(by string, spoil func(*corev1.PodSpec)) func(ctx context.Context, t *testing.T, s *scene) {
		return func(ctx context.Context, t *testing.T, s *scene) {
			instance := anyPod(ctx, t, s)
			// A policy comes into force a moment after it is made.
			must(t, "be refused by "+by, s.Wait(ctx, time.Minute, "a refusal", func(ctx context.Context) (bool, string, error) {
				pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: s.Key.Namespace, Name: "spoilt"}, Spec: *instance.Spec.DeepCopy()}
				pod.Spec.NodeName = ""
				spoil(&pod.Spec)
				err := s.Client.Create(ctx, pod, client.DryRunAll)
				if err != nil && !apierrors.IsForbidden(err) {
					return false, "", err
				}
				return err != nil && strings.Contains(err.Error(), by), "admitted", nil
			}))
		}
	}
	play(t, shop(), takeOver(),
		step{"a pod with a Secret in its environment is refused", refused(secretguard.PolicyName, func(spec *corev1.PodSpec) {
			spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: shopName + "-users"}}}}
		})},
		step{"a pod that may become root is refused", refused("PodSecurity", func(spec *corev1.PodSpec) {
			spec.SecurityContext.RunAsNonRoot = nil
		})},
	)
}
