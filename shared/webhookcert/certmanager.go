package webhookcert

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kapok-operators/kapok/shared/pki"
)

// InjectAnnotation is what cert-manager looks for on configurations whose bundle
// it is to fill; see CertManager.Annotations.
const InjectAnnotation = "cert-manager.io/inject-ca-from"

// Lives of what cert-manager issues.
const (
	certManagerLeafLife      = 90 * 24 * time.Hour
	certManagerAuthorityLife = 10 * 365 * 24 * time.Hour
)

// CertManager is what an installation needs with ModeCertManager.
type CertManager struct {
	// Name is that of the Certificate; the other objects are named after it.
	Name string
	// Namespace is the operator's.
	Namespace string
	// Service is the one through which API servers call.
	Service string
	// Secret gets the certificate. It is mounted in the operator's pods, whole (a
	// subPath is never updated).
	Secret string
	// RenewBefore renews the certificate when less than this is left of its 90 days.
	RenewBefore time.Duration
	// Labels are put on every object.
	Labels map[string]string
}

// Validate says what is wrong.
func (c CertManager) Validate() error {
	var problems []error
	for what, value := range map[string]string{"name": c.Name, "namespace": c.Namespace, "service": c.Service, "secret": c.Secret} {
		if wrong := validation.IsDNS1123Subdomain(value); len(wrong) > 0 {
			problems = append(problems, fmt.Errorf("the %s %q: %s", what, value, wrong[0]))
		}
	}
	// A renewBefore that does not count would be refused, or renew without end.
	if c.RenewBefore <= 0 || certManagerLeafLife-c.RenewBefore < certManagerLeafLife/3 {
		problems = append(problems, fmt.Errorf("renew-before (%s) must be positive, and at most two thirds of the certificate's life (%s)", c.RenewBefore, certManagerLeafLife*2/3))
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("certificate by cert-manager: %w", err)
	}
	return nil
}

// Annotations make cert-manager keep the bundles of the object that carries them:
// a ValidatingWebhookConfiguration, a MutatingWebhookConfiguration or a
// CustomResourceDefinition.
func (c CertManager) Annotations() map[string]string {
	return map[string]string{InjectAnnotation: c.Namespace + "/" + c.Name}
}

// Objects renders the issuers and certificates: an authority of ten years that
// signs itself, and by it the serving certificate of 90 days. With a serving
// certificate that signs itself, which is often seen, each renewal would change
// the bundles before the mounted file or after it, and requests would fail in
// between.
func (c CertManager) Objects() ([]*unstructured.Unstructured, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	authority, root := c.Name+"-ca", c.Name+"-root"
	left := pki.Due(certManagerLeafLife, c.RenewBefore)
	key := map[string]any{"algorithm": "ECDSA", "size": int64(256), "rotationPolicy": "Always"}
	return []*unstructured.Unstructured{
		c.object("Issuer", root, map[string]any{"selfSigned": map[string]any{}}),
		c.object("Certificate", authority, map[string]any{
			"isCA":       true,
			"commonName": authority,
			"secretName": authority,
			"duration":   certManagerAuthorityLife.String(),
			"privateKey": key,
			"usages":     []any{"cert sign"},
			"issuerRef":  map[string]any{"group": "cert-manager.io", "kind": "Issuer", "name": root},
		}),
		c.object("Issuer", authority, map[string]any{"ca": map[string]any{"secretName": authority}}),
		c.object("Certificate", c.Name, map[string]any{
			"secretName":  c.Secret,
			"dnsNames":    []any{serviceHost(c.Service, c.Namespace)},
			"duration":    certManagerLeafLife.String(),
			"renewBefore": left.String(),
			"privateKey":  key,
			"usages":      []any{"digital signature", "server auth"},
			"issuerRef":   map[string]any{"group": "cert-manager.io", "kind": "Issuer", "name": authority},
		}),
	}, nil
}

func (c CertManager) object(kind, name string, spec map[string]any) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	object.SetAPIVersion("cert-manager.io/v1")
	object.SetKind(kind)
	object.SetNamespace(c.Namespace)
	object.SetName(name)
	object.SetLabels(c.Labels)
	return object
}
