package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kapok-operators/kapok/shared/rbac"
)

// role is a manifest of one role with one rule.
func role(kind, rule string) string {
	return fmt.Sprintf("apiVersion: rbac.authorization.k8s.io/v1\nkind: %s\nmetadata: {name: planted, namespace: shop}\nrules:\n- {%s}\n", kind, rule)
}

func check(t *testing.T, manifest string, exceptions ...Exception) []Violation {
	t.Helper()
	objects, err := rbac.Parse([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	return Check(objects, exceptions...)
}

// TestPlantedViolations plants every kind of thing that must be found, each alone.
func TestPlantedViolations(t *testing.T) {
	for name, rule := range map[string]string{
		"any verb":                `apiGroups: [apps], resources: [statefulsets], verbs: ["*"]`,
		"any resource":            `apiGroups: [apps], resources: ["*"], verbs: [get]`,
		"any subresource":         `apiGroups: [apps], resources: ["*/scale"], verbs: [get]`,
		"any group":               `apiGroups: ["*"], resources: [statefulsets], verbs: [get]`,
		"any URL":                 `nonResourceURLs: ["*"], verbs: [get]`,
		"URLs below":              `nonResourceURLs: ["/logs/*"], verbs: [get]`,
		"escalate":                `apiGroups: [rbac.authorization.k8s.io], resources: [roles], verbs: [escalate]`,
		"bind":                    `apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], resourceNames: [view], verbs: [bind]`,
		"impersonate":             `apiGroups: [""], resources: [users], verbs: [impersonate]`,
		"write roles":             `apiGroups: [rbac.authorization.k8s.io], resources: [rolebindings], verbs: [create]`,
		"create Secrets":          `apiGroups: [""], resources: [secrets], verbs: [create]`,
		"patch one Secret":        `apiGroups: [""], resources: [secrets], resourceNames: [mine], verbs: [patch]`,
		"delete Secrets":          `apiGroups: [""], resources: [secrets], verbs: [delete]`,
		"exec":                    `apiGroups: [""], resources: [pods/exec], verbs: [create]`,
		"exec by get":             `apiGroups: [""], resources: [pods/exec], verbs: [get]`,
		"attach":                  `apiGroups: [""], resources: [pods/attach], verbs: [create]`,
		"forward":                 `apiGroups: [""], resources: [pods/portforward], verbs: [create]`,
		"ephemeral containers":    `apiGroups: [""], resources: [pods/ephemeralcontainers], verbs: [patch]`,
		"tokens":                  `apiGroups: [""], resources: [serviceaccounts/token], verbs: [create]`,
		"kubelets":                `apiGroups: [""], resources: [nodes/proxy], verbs: [get]`,
		"write nodes":             `apiGroups: [""], resources: [nodes], verbs: [patch]`,
		"delete whole kinds":      `apiGroups: [""], resources: [pods], verbs: [deletecollection]`,
		"approve certificates":    `apiGroups: [certificates.k8s.io], resources: [signers], verbs: [approve]`,
		"ask for certificates":    `apiGroups: [certificates.k8s.io], resources: [certificatesigningrequests], verbs: [create]`,
		"hidden among good verbs": `apiGroups: [""], resources: [pods, secrets], verbs: [get, list, watch, delete]`,
	} {
		for _, kind := range []string{rbac.KindRole, rbac.KindClusterRole} {
			if found := check(t, role(kind, rule)); len(found) == 0 || found[0].Why == "" || found[0].In != kind+" planted" {
				t.Errorf("%s in a %s was not found: %v", name, kind, found)
			}
		}
	}
}

func TestSecretsAreReadInNamedNamespacesOnly(t *testing.T) {
	for _, verb := range []string{"get", "list", "watch"} {
		rule := `apiGroups: [""], resources: [secrets], verbs: [` + verb + `]`
		if found := check(t, role(rbac.KindRole, rule)); len(found) != 0 {
			t.Errorf("%s in a Role: %v", verb, found)
		}
		if found := check(t, role(rbac.KindClusterRole, rule)); len(found) != 1 || !strings.Contains(found[0].Why, "all namespaces") {
			t.Errorf("%s in a ClusterRole: %v", verb, found)
		}
	}
}

func TestWhatAnOperatorDoesIsNotRefused(t *testing.T) {
	for _, rule := range []string{
		`apiGroups: [apps], resources: [statefulsets], verbs: [create, delete, get, list, patch, update, watch]`,
		`apiGroups: [""], resources: [pods, configmaps, nodes], verbs: [get, list, watch]`,
		`nonResourceURLs: [/metrics], verbs: [get]`,
		`apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]`,
		`apiGroups: [rbac.authorization.k8s.io], resources: [roles], verbs: [get]`,
	} {
		if found := check(t, role(rbac.KindClusterRole, rule)); len(found) != 0 {
			t.Errorf("%s: %v", rule, found)
		}
	}
}

func TestExceptionsAreExactAndDoNotRot(t *testing.T) {
	token := role(rbac.KindRole, `apiGroups: [""], resources: [serviceaccounts/token], verbs: [create]`)
	good := Exception{Role: "Role planted", Permission: "create serviceaccounts/token", Why: "the agents' tokens"}
	if found := check(t, token, good); len(found) != 0 {
		t.Errorf("a justified permission was refused: %v", found)
	}
	other, silent := good, good
	other.Role, silent.Why = "ClusterRole planted", ""
	for name, e := range map[string]Exception{"of another role": other, "without a reason": silent} {
		if found := check(t, token, e); len(found) != 2 {
			t.Errorf("an exception %s: %v", name, found)
		}
	}
	harmless := role(rbac.KindRole, `apiGroups: [""], resources: [pods], verbs: [get]`)
	if found := check(t, harmless, good); len(found) != 1 {
		t.Errorf("an exception that nothing needs: %v", found)
	}
}

func TestBindings(t *testing.T) {
	known := role(rbac.KindClusterRole, `apiGroups: [""], resources: [pods], verbs: [get]`)
	binding := func(ref, subject string) string {
		return known + "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: b}\n" +
			"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: " + ref + "}\nsubjects: [" + subject + "]\n"
	}
	const own = "{kind: ServiceAccount, name: operator, namespace: ops}"
	if found := check(t, binding("planted", own)); len(found) != 0 {
		t.Errorf("a good binding: %v", found)
	}
	for name, manifest := range map[string]string{
		"a role from elsewhere": binding("cluster-admin", own),
		"everybody":             binding("planted", "{kind: Group, name: system:authenticated, apiGroup: rbac.authorization.k8s.io}"),
		"a person":              binding("planted", "{kind: User, name: eve, apiGroup: rbac.authorization.k8s.io}"),
		"no namespace":          binding("planted", "{kind: ServiceAccount, name: operator}"),
	} {
		if found := check(t, manifest); len(found) != 1 {
			t.Errorf("%s: %v", name, found)
		}
	}
	aggregated := "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: a}\naggregationRule: {clusterRoleSelectors: [{matchLabels: {a: b}}]}\nrules: []\n"
	if found := check(t, aggregated); len(found) != 1 {
		t.Errorf("an aggregated role: %v", found)
	}
}
