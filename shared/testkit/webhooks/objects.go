package webhooks

import (
	"errors"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// patience is the longest that an API server waits for a webhook, in seconds, and the most that it allows. What is too slow shows
// in the figures of a load; it must not look like what is not trusted.
const patience = 30

// Installation is what makes an API server call webhooks.
type Installation struct {
	// Name is that of both webhook configurations and of the namespace whose objects
	// they are asked about. The kind Widget has a group of this name, see Group.
	Name string
	// Address is where the webhooks are.
	Address string
	// Bundle is what the API server trusts; empty if somebody fills it.
	Bundle []byte
	// Annotations are put on everything that has a bundle.
	Annotations map[string]string
}

// Group is that of the Widgets.
func (i Installation) Group() string { return i.Name + ".kapok.dev" }

// Namespace has the objects that the webhooks are asked about.
func (i Installation) Namespace() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: i.Name, Labels: i.labels()}}
}

// Validating asks the validating webhook about ConfigMaps and Widgets.
func (i Installation) Validating() *admissionv1.ValidatingWebhookConfiguration {
	out := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: i.Name, Annotations: i.Annotations}}
	for _, w := range i.asked() {
		out.Webhooks = append(out.Webhooks, admissionv1.ValidatingWebhook{
			Name: w.name, ClientConfig: ClientConfig(i.Address, validatePath, i.Bundle), Rules: w.rules, FailurePolicy: new(admissionv1.Fail),
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: i.labels()}, SideEffects: new(admissionv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"}, TimeoutSeconds: new(int32(patience)),
		})
	}
	return out
}

// Mutating asks the mutating webhook about ConfigMaps and Widgets.
func (i Installation) Mutating() *admissionv1.MutatingWebhookConfiguration {
	out := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: i.Name, Annotations: i.Annotations}}
	for _, w := range i.asked() {
		out.Webhooks = append(out.Webhooks, admissionv1.MutatingWebhook{
			Name: w.name, ClientConfig: ClientConfig(i.Address, mutatePath, i.Bundle), Rules: w.rules, FailurePolicy: new(admissionv1.Fail),
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: i.labels()}, SideEffects: new(admissionv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"}, TimeoutSeconds: new(int32(patience)),
		})
	}
	return out
}

func (i Installation) labels() map[string]string { return map[string]string{"webhooks": i.Name} }

// asked is what both admission webhooks are asked about.
func (i Installation) asked() []struct {
	name  string
	rules []admissionv1.RuleWithOperations
} {
	return []struct {
		name  string
		rules []admissionv1.RuleWithOperations
	}{{"configmaps.kapok.dev", Rules("", "configmaps")}, {"widgets.kapok.dev", Rules(i.Group(), "widgets")}}
}

// ClientConfig is how API servers call a path at an address.
func ClientConfig(address, path string, bundle []byte) admissionv1.WebhookClientConfig {
	return admissionv1.WebhookClientConfig{URL: new("https://" + address + path), CABundle: bundle}
}

// Rules are for what is created or updated of a resource.
func Rules(group, resource string) []admissionv1.RuleWithOperations {
	return []admissionv1.RuleWithOperations{{
		Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
		Rule:       admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{"*"}, Resources: []string{resource}},
	}}
}

// Definition is that of Widgets, a kind of two versions that are converted by a
// webhook: v1 is stored.
func (i Installation) Definition() *apiextensionsv1.CustomResourceDefinition {
	version := func(name string, storage bool) apiextensionsv1.CustomResourceDefinitionVersion {
		return apiextensionsv1.CustomResourceDefinitionVersion{
			Name: name, Served: true, Storage: storage,
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
				Type: "object",
				Properties: map[string]apiextensionsv1.JSONSchemaProps{
					"spec": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"n": {Type: "integer"}}},
				},
			}},
		}
	}
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "widgets." + i.Group(), Annotations: i.Annotations},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: i.Group(), Scope: apiextensionsv1.NamespaceScoped,
			Names:    apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Singular: "widget", Kind: "Widget", ListKind: "WidgetList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{version("v1", true), version("v2", false)},
			Conversion: &apiextensionsv1.CustomResourceConversion{
				Strategy: apiextensionsv1.WebhookConverter,
				Webhook: &apiextensionsv1.WebhookConversion{
					ConversionReviewVersions: []string{"v1"},
					ClientConfig:             &apiextensionsv1.WebhookClientConfig{URL: new("https://" + i.Address + convertPath), CABundle: i.Bundle},
				},
			},
		},
	}
}

// Widget is one in a version.
func (i Installation) Widget(version, namespace, name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": i.Group() + "/" + version, "kind": "Widget",
		"metadata": map[string]any{"namespace": namespace, "name": name},
		"spec":     map[string]any{"n": int64(1)},
	}}
}

var errNotMutated = errors.New("the mutating webhook was not asked")

// mutated says that an object came back as the mutating webhook has made it.
func mutated(object client.Object, err error) error {
	if err == nil && object.GetLabels()[mutatedLabel] == "" {
		return errNotMutated
	}
	return err
}
