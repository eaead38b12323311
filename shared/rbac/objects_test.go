package rbac

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestCovers(t *testing.T) {
	list := Permission{Verb: "list", Resource: "pods"}
	named := Permission{Verb: "get", Group: "apps", Resource: "statefulsets", Name: "db"}
	for _, c := range []struct {
		have, want Permission
		covers     bool
	}{
		{list, list, true},
		{list, Permission{Verb: "watch", Resource: "pods"}, false},
		{list, Permission{Verb: "list", Group: "metrics.k8s.io", Resource: "pods"}, false},
		{list, Permission{Verb: "list", Resource: "pods/status"}, false},
		{list, Permission{Verb: "list", Resource: "pods", Name: "a"}, true},
		{named, Permission{Verb: "get", Group: "apps", Resource: "statefulsets"}, false},
		{named, Permission{Verb: "get", Group: "apps", Resource: "statefulsets", Name: "other"}, false},
		{named, named, true},
		{Permission{Verb: "*", Group: "*", Resource: "*"}, named, true},
		{Permission{Verb: "get", Resource: "*/status"}, Permission{Verb: "get", Resource: "pods/status"}, true},
		{Permission{Verb: "get", Resource: "*/status"}, Permission{Verb: "get", Resource: "pods"}, false},
		{Permission{Verb: "get", URL: "/api/*"}, Permission{Verb: "get", URL: "/api/v1"}, true},
		{Permission{Verb: "get", URL: "/api"}, Permission{Verb: "get", URL: "/api/v1"}, false},
		{Permission{Verb: "get", URL: "/api"}, list, false},
		{Permission{Verb: "*", Group: "*", Resource: "*"}, Permission{Verb: "get", URL: "/api"}, false},
	} {
		if got := c.have.Covers(c.want); got != c.covers {
			t.Errorf("%q covers %q: %v", c.have, c.want, got)
		}
	}
}

const installation = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: operator, namespace: ops}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: operator, namespace: shop}
rules:
- {apiGroups: [apps], resources: [statefulsets, statefulsets/scale], verbs: [get, patch]}
- {apiGroups: [""], resources: [configmaps], resourceNames: [ca], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: operator, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: operator}
subjects:
- {kind: ServiceAccount, name: operator, namespace: ops}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: metrics}
rules:
- {nonResourceURLs: [/metrics], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: metrics}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: metrics}
subjects:
- {kind: ServiceAccount, name: scraper, namespace: ops}
`

func TestGrants(t *testing.T) {
	objects, err := Parse([]byte(installation))
	if err != nil {
		t.Fatal(err)
	}
	grants := func(name string) string {
		t.Helper()
		all, err := objects.Grants(types.NamespacedName{Namespace: "ops", Name: name})
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, g := range all {
			out = append(out, g.Role+": "+g.String()+"@"+g.Namespace)
		}
		return strings.Join(out, "\n")
	}
	want := "Role operator: get configmaps named ca@shop\n" +
		"Role operator: get statefulsets.apps@shop\nRole operator: patch statefulsets.apps@shop\n" +
		"Role operator: get statefulsets.apps/scale@shop\nRole operator: patch statefulsets.apps/scale@shop"
	if got := grants("operator"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := grants("scraper"); got != "ClusterRole metrics: get /metrics@" {
		t.Errorf("got %s", got)
	}
	if got := grants("somebody"); got != "" {
		t.Errorf("got %s", got)
	}
}

func TestParseRefusesWhatItCannotJudge(t *testing.T) {
	for name, manifest := range map[string]string{
		"a misspelt field":    strings.Replace(installation, "resourceNames", "resourceName", 1),
		"an unknown kind":     "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleList\nitems: []\n",
		"not YAML":            "a: [",
		"a rule of no object": "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: a}\nrules: {}\n",
	} {
		if _, err := Parse([]byte(manifest)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	for name, manifest := range map[string]string{
		"a role that is not there": strings.Replace(installation, "kind: Role, name: operator", "kind: Role, name: gone", 1),
		"no namespace":             strings.Replace(installation, "kind: RoleBinding\nmetadata: {name: operator, namespace: shop}", "kind: RoleBinding\nmetadata: {name: operator}", 1),
	} {
		objects, err := Parse([]byte(manifest))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := objects.Grants(types.NamespacedName{Namespace: "ops", Name: "operator"}); err == nil {
			t.Errorf("a binding to %s was accepted", name)
		}
	}
}

func TestPurposesAreForEachPermission(t *testing.T) {
	role := Role{Kind: KindRole, Name: "operator", Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"apps"}, Resources: []string{"statefulsets"}, Verbs: []string{"get", "patch"}},
	}}
	purposes := Purposes{
		{Group: "apps", Resource: "statefulsets", For: "see them"},
		{Group: "apps", Resource: "statefulsets", Verbs: []string{"patch"}, For: "change them", Without: "nothing changes"},
	}
	named := Purposes{{Resource: "configmaps", Name: "mine", For: "mine"}, {Resource: "configmaps", For: "any"}, {Resource: "configmaps", Name: "yours", For: "yours"}}
	for name, want := range map[string]string{"mine": "mine", "yours": "yours", "others": "any", "": "any"} {
		if got := named.Of(Permission{Verb: "get", Resource: "configmaps", Name: name}); got == nil || got.For != want {
			t.Errorf("the purpose of %q is %+v", name, got)
		}
	}
	needs, err := purposes.Needs(role, "shop", "the role")
	if err != nil {
		t.Fatal(err)
	}
	if len(needs) != 2 || needs[0].For != "see them" || needs[0].Without != "" || needs[1].For != "change them" || needs[1].Without != "nothing changes" {
		t.Errorf("got %+v", needs)
	}
	if _, err := purposes[1:].Needs(role, "shop", "the role"); err == nil || !strings.Contains(err.Error(), "get statefulsets.apps") {
		t.Errorf("a permission without a purpose: %v", err)
	}
}
