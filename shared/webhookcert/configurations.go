package webhookcert

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	admissionclient "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"
	"k8s.io/client-go/rest"
)

// configuration is one named object that tells API servers how to call webhooks.
type configuration struct {
	// title is its kind and name, for people.
	title string
	// example is an empty object of its kind.
	example runtime.Object
	list    func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error)
	watch   func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
	// hooks are the webhooks in an object.
	hooks func(object any) []hook
	// slim drops what is not looked at; objects are kept in memory.
	slim func(object any)
	// patch applies a JSON patch.
	patch func(ctx context.Context, patch []byte, options metav1.PatchOptions) error
}

// hook is one webhook of a configuration.
type hook struct {
	// name tells it from others in its configuration; empty where there is but one.
	name string
	// host is what the API server calls.
	host string
	// path is where its bundle is in the configuration, as JSON patch names it.
	path   string
	bundle []byte
}

// configurations returns those that the options name.
func configurations(rc *rest.Config, o Options) ([]configuration, error) {
	admission, err := admissionclient.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("make a client for webhook configurations: %w", err)
	}
	extensions, err := apiextensionsclient.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("make a client for custom resource definitions: %w", err)
	}
	var out []configuration
	for _, name := range o.Validating {
		out = append(out, validating(admission.ValidatingWebhookConfigurations(), name))
	}
	for _, name := range o.Mutating {
		out = append(out, mutating(admission.MutatingWebhookConfigurations(), name))
	}
	for _, name := range o.Conversions {
		out = append(out, conversion(extensions.CustomResourceDefinitions(), name))
	}
	return out, nil
}

func validating(c admissionclient.ValidatingWebhookConfigurationInterface, name string) configuration {
	return configuration{
		title:   "ValidatingWebhookConfiguration " + name,
		example: &admissionv1.ValidatingWebhookConfiguration{},
		list: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return c.List(ctx, options)
		},
		watch: c.Watch,
		hooks: func(object any) []hook {
			var out []hook
			if object, ok := object.(*admissionv1.ValidatingWebhookConfiguration); ok {
				for i, w := range object.Webhooks {
					out = append(out, admissionHook(i, w.Name, w.ClientConfig))
				}
			}
			return out
		},
		slim: func(object any) {
			if object, ok := object.(*admissionv1.ValidatingWebhookConfiguration); ok {
				object.ManagedFields = nil
			}
		},
		patch: func(ctx context.Context, patch []byte, options metav1.PatchOptions) error {
			_, err := c.Patch(ctx, name, types.JSONPatchType, patch, options)
			return err
		},
	}
}

func mutating(c admissionclient.MutatingWebhookConfigurationInterface, name string) configuration {
	return configuration{
		title:   "MutatingWebhookConfiguration " + name,
		example: &admissionv1.MutatingWebhookConfiguration{},
		list: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return c.List(ctx, options)
		},
		watch: c.Watch,
		hooks: func(object any) []hook {
			var out []hook
			if object, ok := object.(*admissionv1.MutatingWebhookConfiguration); ok {
				for i, w := range object.Webhooks {
					out = append(out, admissionHook(i, w.Name, w.ClientConfig))
				}
			}
			return out
		},
		slim: func(object any) {
			if object, ok := object.(*admissionv1.MutatingWebhookConfiguration); ok {
				object.ManagedFields = nil
			}
		},
		patch: func(ctx context.Context, patch []byte, options metav1.PatchOptions) error {
			_, err := c.Patch(ctx, name, types.JSONPatchType, patch, options)
			return err
		},
	}
}

func conversion(c apiextensionsclient.CustomResourceDefinitionInterface, name string) configuration {
	return configuration{
		title:   "CustomResourceDefinition " + name,
		example: &apiextensionsv1.CustomResourceDefinition{},
		list: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return c.List(ctx, options)
		},
		watch: c.Watch,
		hooks: func(object any) []hook {
			crd, ok := object.(*apiextensionsv1.CustomResourceDefinition)
			if !ok || crd.Spec.Conversion == nil || crd.Spec.Conversion.Webhook == nil || crd.Spec.Conversion.Webhook.ClientConfig == nil {
				return nil
			}
			config := crd.Spec.Conversion.Webhook.ClientConfig
			h := hook{path: "/spec/conversion/webhook/clientConfig/caBundle", bundle: config.CABundle}
			switch {
			case config.Service != nil:
				h.host = serviceHost(config.Service.Name, config.Service.Namespace)
			case config.URL != nil:
				h.host = hostOf(*config.URL)
			}
			return []hook{h}
		},
		slim: func(object any) {
			if crd, ok := object.(*apiextensionsv1.CustomResourceDefinition); ok {
				crd.ManagedFields, crd.Spec.Versions, crd.Annotations = nil, nil, nil
			}
		},
		patch: func(ctx context.Context, patch []byte, options metav1.PatchOptions) error {
			_, err := c.Patch(ctx, name, types.JSONPatchType, patch, options)
			return err
		},
	}
}

func admissionHook(index int, name string, config admissionv1.WebhookClientConfig) hook {
	h := hook{name: name, path: fmt.Sprintf("/webhooks/%d/clientConfig/caBundle", index), bundle: config.CABundle}
	switch {
	case config.Service != nil:
		h.host = serviceHost(config.Service.Name, config.Service.Namespace)
	case config.URL != nil:
		h.host = hostOf(*config.URL)
	}
	return h
}

// hostOf is the host in a URL, in the one form that names and addresses have here;
// empty if there is none, as nobody is called so.
func hostOf(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return ""
	}
	host := parsed.Hostname()
	if ip := net.ParseIP(host); ip != nil {
		return ip.String()
	}
	return strings.ToLower(host)
}
