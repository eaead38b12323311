package secretguard_test

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/shared/secretguard"
)

// BenchmarkAdmission measures what the guard adds to the creation of a pod of usual
// size: the difference of the two.
func BenchmarkAdmission(b *testing.B) {
	const usual = `{initContainers: [{name: init, image: i, volumeMounts: [{name: v, mountPath: /v, readOnly: true}]}],
containers: [
{name: app, image: i, env: [{name: A, value: a}, {name: B, value: b}, {name: C, value: c}, {name: D, valueFrom: {fieldRef: {fieldPath: metadata.name}}}],
volumeMounts: [{name: v, mountPath: /v, readOnly: true}, {name: e, mountPath: /e}, {name: c, mountPath: /c}]},
{name: side, image: i, env: [{name: A, value: a}], volumeMounts: [{name: v, mountPath: /v, readOnly: true}]}],
volumes: [{name: v, secret: {secretName: s}}, {name: e, emptyDir: {}}, {name: c, configMap: {name: c}}]}`
	for name, mode := range map[string]string{"without": "", "guarded": secretguard.ModeDeny} {
		namespace := guarded(b, mode)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := api.Create(b.Context(), pod(b, namespace, usual), client.DryRunAll); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
