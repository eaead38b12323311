// Package webhooks has what tests of webhook certificates stand on: webhooks of every kind that an API server calls (validating,
// mutating, conversion), the objects that tell it to, and a load that goes through them and counts every request that fails.
package webhooks

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"sync/atomic"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// Refusal is what the validating webhook says to an object with the label refuse.
const Refusal = "the label refuse is set"

// mutatedLabel is what the mutating webhook sets.
const mutatedLabel = "mutated"

// Paths at which Answers answers.
const (
	validatePath = "/validate"
	mutatePath   = "/mutate"
	convertPath  = "/convert"
)

// Answers are webhooks of every kind; they count what they have answered.
type Answers struct{ Validated, Mutated, Converted atomic.Int64 }

// Register makes a server give the answers. Clients have to connect anew for each
// request, so that each asks whether the certificate is trusted; see HTTP1.
func (a *Answers) Register(server webhook.Server) {
	server.Register(validatePath, afresh(&admission.Webhook{Handler: admission.HandlerFunc(a.validate)}))
	server.Register(mutatePath, afresh(&admission.Webhook{Handler: admission.HandlerFunc(a.mutate)}))
	server.Register(convertPath, afresh(http.HandlerFunc(a.convert)))
}

func (a *Answers) validate(_ context.Context, r admission.Request) admission.Response {
	a.Validated.Add(1)
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal(r.Object.Raw, &object.Object); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	switch labels := object.GetLabels(); {
	case labels["refuse"] != "":
		return admission.Denied(Refusal)
	case labels[mutatedLabel] == "":
		return admission.Denied(errNotMutated.Error())
	}
	return admission.Allowed("")
}

func (a *Answers) mutate(_ context.Context, r admission.Request) admission.Response {
	a.Mutated.Add(1)
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal(r.Object.Raw, &object.Object); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	labels := object.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[mutatedLabel] = "true"
	object.SetLabels(labels)
	raw, err := json.Marshal(object.Object)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(r.Object.Raw, raw)
}

// convert changes nothing but the version.
func (a *Answers) convert(w http.ResponseWriter, r *http.Request) {
	a.Converted.Add(1)
	var review apiextensionsv1.ConversionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer := &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
	for _, raw := range review.Request.Objects {
		object := &unstructured.Unstructured{}
		if err := json.Unmarshal(raw.Raw, &object.Object); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		object.SetAPIVersion(review.Request.DesiredAPIVersion)
		answer.ConvertedObjects = append(answer.ConvertedObjects, runtime.RawExtension{Object: object})
	}
	review.Request, review.Response = nil, answer
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

// HTTP1 makes a server speak HTTP/1.1 alone, where the end of a connection with its
// answer can be no surprise to another request.
func HTTP1(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }

// Rejections counts the handshakes that a client has broken off because it does not
// trust the certificate. Only the server's log tells of them: it reads what is logged.
type Rejections struct{ Count atomic.Int64 }

// Write implements io.Writer; it gets a line.
func (r *Rejections) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("TLS handshake error")) && bytes.Contains(line, []byte("certificate")) {
		r.Count.Add(1)
	}
	return len(line), nil
}

func afresh(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		next.ServeHTTP(w, r)
	})
}
