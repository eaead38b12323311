package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/kapok-operators/kapok/operators/mysql/internal/permission"
)

// apiServer allows everything but the resources that it is given.
func apiServer(t *testing.T, denied ...string) *rest.Config {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		var answer any
		switch r.URL.Path {
		case "/apis/mysql.kapok.dev/v1alpha1":
			answer = metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, APIResources: []metav1.APIResource{{Name: "mysqlclusters"}, {Name: "mysqlbackups"}, {Name: "mysqlrestores"}}}
		case "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews":
			// A list that is incomplete: everything is asked about one by one.
			answer = authorizationv1.SelfSubjectRulesReview{Status: authorizationv1.SubjectRulesReviewStatus{Incomplete: true}}
		case "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews":
			var review authorizationv1.SelfSubjectAccessReview
			body, err := io.ReadAll(r.Body)
			if err == nil {
				err = json.Unmarshal(body, &review)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			review.Status.Allowed = !slices.Contains(denied, review.Spec.ResourceAttributes.Resource)
			answer = review
		default:
			http.NotFound(w, r)
			return
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
}

func TestPreflightEndsOrGoesOn(t *testing.T) {
	in := permission.Installation{Namespaces: []string{"shop"}, Own: "ops", Election: "ops", Metrics: true}
	for name, c := range map[string]struct {
		rc             *rest.Config
		in             permission.Installation
		errors, logged []string
	}{
		"all is granted": {apiServer(t), in, nil, nil},
		"two are missing": {apiServer(t, "statefulsets", "leases"), in,
			[]string{"in namespace shop it may not create, get, list, patch, watch statefulsets.apps", "in namespace ops it may not get, update leases.coordination.k8s.io named mysql-operator"},
			[]string{"A permission is missing", "granted by Role mysql-operator in namespace shop"}},
		"what it can do without": {apiServer(t, "events", "tokenreviews"), in, nil, []string{"not strictly needed", "kubectl describe shows no events", "nobody can read the metrics"}},
		"in all namespaces":      {apiServer(t, "pods"), permission.Installation{Own: "ops"}, []string{"in all namespaces it may not delete pods", "in namespace ops it may not list pods"}, nil},
		"no answer":              {&rest.Config{Host: "http://127.0.0.1:1"}, in, nil, []string{"could not be checked; it goes on"}},
	} {
		t.Run(name, func(t *testing.T) {
			var logged strings.Builder
			err := preflight(t.Context(), c.rc, c.in, funcr.New(func(_, line string) { logged.WriteString(line + "\n") }, funcr.Options{}))
			if (err != nil) != (c.errors != nil) {
				t.Fatalf("got %v", err)
			}
			for _, want := range c.errors {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in\n%v", want, err)
				}
			}
			for _, want := range c.logged {
				if !strings.Contains(logged.String(), want) {
					t.Errorf("%q was not logged:\n%s", want, logged.String())
				}
			}
			if c.logged == nil && c.errors == nil && logged.Len() > 0 {
				t.Errorf("it complains: %s", logged.String())
			}
		})
	}
}

func TestInstallationFollowsTheFlags(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want permission.Installation
	}{
		"defaults":    {nil, permission.Installation{Own: "ops", Election: "ops", Metrics: true}},
		"no metrics":  {[]string{"--metrics-address=0"}, permission.Installation{Own: "ops", Election: "ops"}},
		"open":        {[]string{"--metrics-insecure"}, permission.Installation{Own: "ops", Election: "ops"}},
		"no election": {[]string{"--leader-election=false"}, permission.Installation{Own: "ops", Metrics: true}},
		"elsewhere":   {[]string{"--leader-election-namespace=there"}, permission.Installation{Own: "ops", Election: "there", Metrics: true}},
		"OLM":         {[]string{"--namespaces=shop,forum"}, permission.Installation{Own: "ops", Election: "ops", Metrics: true, Namespaces: []string{"forum", "shop"}}},
		"OLM for all": {[]string{"--namespaces="}, permission.Installation{Own: "ops", Election: "ops", Metrics: true}},
	} {
		t.Run(name, func(t *testing.T) {
			parsed, err := parse(append([]string{"--operator-image=a", "--link-address=b:1"}, c.args...))
			if err != nil {
				t.Fatal(err)
			}
			got := installation(parsed.manager, "ops")
			if !slices.Equal(got.Namespaces, c.want.Namespaces) {
				t.Errorf("it watches %v", got.Namespaces)
			}
			got.Namespaces, c.want.Namespaces = nil, nil
			if got.Own != c.want.Own || got.Election != c.want.Election || got.Metrics != c.want.Metrics {
				t.Errorf("got %+v", got)
			}
		})
	}
	// Somebody left the variable out that the argument names.
	if _, err := parse([]string{"--operator-image=a", "--link-address=b:1", "--namespaces=$(WATCH_NAMESPACE)"}); err == nil {
		t.Error("a variable that is not set was taken for a namespace")
	}
}
