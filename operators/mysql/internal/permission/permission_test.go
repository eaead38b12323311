package permission

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kapok-operators/kapok/operators/mysql/config"
	"github.com/kapok-operators/kapok/shared/rbac"
	"github.com/kapok-operators/kapok/shared/testkit"
)

var update = testkit.UpdateFlag(flag.CommandLine)

// page is the document that shows what each permission is for.
var page = filepath.Join("..", "..", "..", "..", "docs", "platform", "permissions.md")

func roles(t *testing.T) []rbac.Role {
	t.Helper()
	var out []rbac.Role
	for name, manifest := range map[string][]byte{Watched: config.WatchedRole(), Own: config.OwnRole(), Metrics: config.MetricsRole()} {
		r, err := role(manifest, name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// TestEachPurposeIsOfAPermission finds purposes that nothing has any more; that no permission lacks one is found by Needs.
func TestEachPurposeIsOfAPermission(t *testing.T) {
	used := map[*rbac.Purpose]bool{}
	for _, r := range roles(t) {
		for _, p := range rbac.PermissionsOf(r.Rules) {
			purpose := purposes.Of(p)
			if purpose == nil {
				t.Errorf("%s: nothing says what %q is for", r, p)
				continue
			}
			used[purpose] = true
			for _, other := range purposes {
				if slices.Contains(other.Verbs, p.Verb) && other.Group == p.Group && other.Resource == p.Resource && other.For != purpose.For {
					t.Errorf("two purposes are about %q", p)
				}
			}
		}
	}
	for i := range purposes {
		if !used[&purposes[i]] {
			t.Errorf("no role grants what is said to be for: %s", purposes[i].For)
		}
	}
}

func TestNeedsFollowTheInstallation(t *testing.T) {
	count := func(in Installation) map[string]int {
		t.Helper()
		needs, err := Needs(in)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]int{}
		for _, need := range needs {
			out[need.Namespace+" "+need.String()]++
			if need.For == "" || need.From == "" {
				t.Errorf("%s is not explained", need)
			}
		}
		return out
	}
	several := count(Installation{Namespaces: []string{"shop", "forum"}, Own: "ops", Election: "ops"})
	for _, want := range []string{"shop patch statefulsets.apps", "forum patch statefulsets.apps", "ops create leases.coordination.k8s.io",
		"ops patch configmaps named mysql-operator-link", "ops list pods"} {
		if several[want] != 1 {
			t.Errorf("several namespaces do not need %q", want)
		}
	}
	for _, not := range []string{" patch statefulsets.apps", "ops patch statefulsets.apps", " create tokenreviews.authentication.k8s.io"} {
		if several[not] != 0 {
			t.Errorf("several namespaces need %q", not)
		}
	}
	all := count(Installation{Own: "ops", Metrics: true})
	if all[" patch statefulsets.apps"] != 1 || all[" create tokenreviews.authentication.k8s.io"] != 1 {
		t.Errorf("all namespaces: %v", all)
	}
	if all["ops create leases.coordination.k8s.io"] != 0 {
		t.Error("a Lease is needed without an election")
	}
}

// TestExceptionsAreOfPermissions finds exceptions for what nothing grants.
func TestExceptionsAreOfPermissions(t *testing.T) {
	all := roles(t)
	for _, r := range rare {
		granted := slices.ContainsFunc(all, func(role rbac.Role) bool {
			return role.Name == r.role && slices.Contains(rbac.PermissionsOf(role.Rules), r.permission)
		})
		if !granted || r.why == "" || len(r.suites) == 0 {
			t.Errorf("the exception for %s, %s has rotted", r.role, r.permission)
		}
		if r.sometimes && slices.Contains(r.suites, Envtest) {
			t.Errorf("no suite proves that %s, %s is needed", r.role, r.permission)
		}
	}
}

// TestTheDocumentSaysWhatEachPermissionIsFor compares the table in the documentation with the roles and purposes.
func TestTheDocumentSaysWhatEachPermissionIsFor(t *testing.T) {
	const begin, end = "<!-- permissions: written by go test ./internal/permission -update -->\n", "<!-- end of permissions -->"
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(raw), begin)
	old, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s has lost the marks of the table", page)
	}
	table := table(t)
	if *update {
		if err := os.WriteFile(page, []byte(before+begin+table+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if old != table {
		t.Errorf("the table in %s is not that of the roles (go test ./internal/permission -update writes it):\n%s", page, table)
	}
}

func table(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, part := range []struct {
		title string
		in    Installation
		keep  func(rbac.Need) bool
	}{
		{"In each namespace that is watched (Role or ClusterRole `" + Watched + "`):", Installation{Namespaces: []string{"watched"}},
			func(n rbac.Need) bool { return n.Namespace == "watched" }},
		{"In its own namespace (Role `" + Own + "`):", Installation{Own: "own", Election: "own", Namespaces: []string{"watched"}},
			func(n rbac.Need) bool { return n.Namespace == "own" }},
		{"For metrics to authorized readers only (ClusterRole `" + Metrics + "`):", Installation{Metrics: true, Namespaces: []string{"watched"}, Own: "own"},
			func(n rbac.Need) bool { return n.Namespace == "" }},
	} {
		needs, err := Needs(part.in)
		if err != nil {
			t.Fatal(err)
		}
		needs = slices.DeleteFunc(needs, func(n rbac.Need) bool { return !part.keep(n) })
		fmt.Fprintf(&b, "\n%s\n\n| may | on | to |\n|---|---|---|\n", part.title)
		for _, gap := range rbac.Gaps(needs) {
			on, purpose := "`"+gap.What()+"`", gap.For
			if gap.Name != "" {
				on += ", `" + gap.Name + "` alone"
			}
			if gap.Without != "" {
				purpose += ". Not strictly needed: without it " + gap.Without
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.Join(gap.Verbs, ", "), on, purpose)
		}
	}
	return b.String() + "\n"
}
