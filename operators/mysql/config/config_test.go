package config

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kapok-operators/kapok/shared/rbac"
	"github.com/kapok-operators/kapok/shared/rbac/policy"
)

// render runs hack/install-yaml.sh and returns what it has written, by file name, or its error.
func render(t *testing.T, environment ...string) (map[string]string, error) {
	t.Helper()
	folder := t.TempDir()
	script := exec.CommandContext(t.Context(), "bash", filepath.Join("..", "..", "..", "hack", "install-yaml.sh"))
	// Whatever whoever runs the tests has set, the defaults are the defaults.
	script.Env = append(os.Environ(), "INSTALL_FOLDER="+folder, "MODE=", "NAMESPACES=", "METRICS=", "OPERATOR_NAMESPACE=", "MYSQL_OPERATOR_IMAGE=")
	script.Env = append(script.Env, environment...)
	if said, err := script.CombinedOutput(); err != nil {
		t.Logf("%v: %s", environment, said)
		return nil, err
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, entry := range entries {
		raw, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[entry.Name()] = string(raw)
	}
	return out, nil
}

// way is one way of installing, and what must come of it.
type way struct {
	environment []string
	// account is the operator's, watched the argument for the namespaces that it watches.
	account types.NamespacedName
	watched string
	// namespaces are those in which it has the watched role; none means all.
	namespaces []string
	metrics    string
}

func ways() map[string]way {
	in := func(namespace string) types.NamespacedName {
		return types.NamespacedName{Namespace: namespace, Name: "mysql-operator"}
	}
	return map[string]way{
		"all":            {nil, in("kapok-mysql-system"), `value: ""`, nil, "authorized"},
		"own":            {[]string{"MODE=own"}, in("kapok-mysql"), "value: kapok-mysql", []string{"kapok-mysql"}, "off"},
		"own, elsewhere": {[]string{"MODE=own", "OPERATOR_NAMESPACE=team", "METRICS=open"}, in("team"), "value: team", []string{"team"}, "open"},
		"one":            {[]string{"MODE=one", "NAMESPACES=shop"}, in("kapok-mysql-system"), "value: shop", []string{"shop"}, "off"},
		"several": {[]string{"MODE=several", "NAMESPACES=shop,forum", "OPERATOR_NAMESPACE=ops", "METRICS=authorized"}, in("ops"), "value: shop,forum",
			[]string{"shop", "forum"}, "authorized"},
		"several, with its own": {[]string{"MODE=several", "NAMESPACES=shop,ops", "OPERATOR_NAMESPACE=ops"}, in("ops"), "value: shop,ops", []string{"shop", "ops"}, "off"},
	}
}

// TestEveryWayOfInstalling renders each way and holds its roles to the policy.
func TestEveryWayOfInstalling(t *testing.T) {
	for name, w := range ways() {
		t.Run(name, func(t *testing.T) {
			files, err := render(t, w.environment...)
			if err != nil {
				t.Fatal(err)
			}
			manifest := files["mysql-operator.yaml"]
			if !strings.Contains(manifest, "- name: WATCH_NAMESPACE\n          "+w.watched+"\n") {
				t.Errorf("it does not watch %s", w.watched)
			}
			if !strings.Contains(files["mysql-operator-crds.yaml"], "kind: CustomResourceDefinition") {
				t.Error("the definitions are missing")
			}
			argument := map[string]bool{"off": strings.Contains(manifest, "- --metrics-address=0\n"), "open": strings.Contains(manifest, "- --metrics-insecure\n"),
				"authorized": !strings.Contains(manifest, "--metrics-")}
			if !argument[w.metrics] {
				t.Errorf("metrics are not %s", w.metrics)
			}
			extra, asked := files["mysql-operator-metrics-auth.yaml"]
			if want := w.metrics == "authorized" && w.namespaces != nil; asked != want {
				t.Errorf("the ClusterRole for metrics was written: %v", asked)
			}
			objects, err := rbac.Parse([]byte(manifest))
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range policy.Check(objects) {
				t.Error(v)
			}
			if asked {
				more, err := rbac.Parse([]byte(extra))
				if err != nil {
					t.Fatal(err)
				}
				for _, v := range policy.Check(more) {
					t.Error(v)
				}
			}
			if w.namespaces != nil {
				nothingOfTheCluster(t, manifest)
			}
			granted(t, objects, w)
		})
	}
}

// nothingOfTheCluster fails for what only a cluster administrator may install.
func nothingOfTheCluster(t *testing.T, manifest string) {
	t.Helper()
	for _, kind := range []string{"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Namespace", "ValidatingWebhookConfiguration",
		"MutatingWebhookConfiguration", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "PriorityClass"} {
		if strings.Contains(manifest, "\nkind: "+kind+"\n") {
			t.Errorf("it holds a %s", kind)
		}
	}
}

// granted compares what the account gets with the roles that the program asks for at its start.
func granted(t *testing.T, objects *rbac.Objects, w way) {
	t.Helper()
	grants, err := objects.Grants(w.account)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, g := range grants {
		got[g.Namespace+" "+g.Role+" "+g.String()]++
	}
	want := func(manifest []byte, kind string, namespaces ...string) {
		source, err := rbac.Parse(manifest)
		if err != nil {
			t.Fatal(err)
		}
		for _, namespace := range namespaces {
			for _, p := range rbac.PermissionsOf(source.Roles[0].Rules) {
				key := namespace + " " + kind + " " + source.Roles[0].Name + " " + p.String()
				if got[key] != 1 {
					t.Errorf("%q is granted %d times", key, got[key])
				}
				delete(got, key)
			}
		}
	}
	want(OwnRole(), rbac.KindRole, w.account.Namespace)
	if w.namespaces == nil {
		want(WatchedRole(), rbac.KindClusterRole, "")
		want(MetricsRole(), rbac.KindClusterRole, "")
	} else {
		want(WatchedRole(), rbac.KindRole, w.namespaces...)
	}
	for more := range got {
		t.Errorf("it grants more: %q", more)
	}
}

func TestInputThatDoesNotFit(t *testing.T) {
	for _, environment := range [][]string{
		{"MODE=some"}, {"MODE=one"}, {"MODE=one", "NAMESPACES=a,b"}, {"MODE=several", "NAMESPACES=a"}, {"MODE=several", "NAMESPACES=a, b"},
		{"MODE=own", "NAMESPACES=a"}, {"NAMESPACES=a"}, {"METRICS=off"}, {"MODE=own", "METRICS=some"}, {"MODE=one", "NAMESPACES=Not_A_Name"},
		{"OPERATOR_NAMESPACE=ops"}, {"MODE=own", "OPERATOR_NAMESPACE=a b"},
	} {
		if files, err := render(t, environment...); err == nil {
			t.Errorf("%v was rendered: %d files", environment, len(files))
		}
	}
}

// TestTheFolderNamespaced holds that what is installed with kubectl alone grants the same.
func TestTheFolderNamespaced(t *testing.T) {
	tool, err := exec.CommandContext(t.Context(), "bash", "-c", "source ../../../hack/lib.sh && cached_tool tools kustomize sigs.k8s.io/kustomize/kustomize/v5").Output()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := exec.CommandContext(t.Context(), strings.TrimSpace(string(tool)), "build", "namespaced").Output()
	if err != nil {
		t.Fatal(err)
	}
	objects, err := rbac.Parse(manifest)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range policy.Check(objects) {
		t.Error(v)
	}
	nothingOfTheCluster(t, string(manifest))
	w := ways()["own"]
	granted(t, objects, w)
	if !strings.Contains(string(manifest), "- name: WATCH_NAMESPACE\n          "+w.watched+"\n") {
		t.Errorf("it does not watch %s", w.watched)
	}
}

// TestAPlantedVerbIsFound changes a rendered installation and wants the policy to see it.
func TestAPlantedVerbIsFound(t *testing.T) {
	files, err := render(t, "MODE=several", "NAMESPACES=shop,forum")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := rbac.Parse([]byte(files["mysql-operator.yaml"]))
	if err != nil {
		t.Fatal(err)
	}
	for i := range objects.Roles {
		role := &objects.Roles[i]
		before := role.Rules
		role.Rules = append(slices.Clip(role.Rules), rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"update"}})
		if found := policy.Check(objects); len(found) != 1 {
			t.Errorf("%s: %v", role, found)
		}
		role.Rules = before
	}
}
