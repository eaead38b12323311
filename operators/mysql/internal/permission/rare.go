package permission

import (
	"slices"

	"github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/shared/rbac"
	"github.com/kapok-operators/kapok/shared/rbac/audit"
)

// Suite is a run of the operator whose audit log is checked.
type Suite string

// The suites.
const (
	// Envtest runs the loop against an API server, with agents in memory.
	Envtest Suite = "envtest"
	// E2E runs the operator in a cluster.
	E2E Suite = "e2e"
)

// monitoringStays is why nothing of monitoring is removed in a cluster.
const monitoringStays = "no scenario of this suite switches monitoring off"

// rare are permissions of which a suite's audit log cannot show that they are used. The proof fails if one is used after
// all, so that nothing stays here longer than it is true.
var rare = []struct {
	kind, role string
	permission rbac.Permission
	why        string
	suites     []Suite
	// sometimes: some runs of the suite use it. Another suite proves that it is needed.
	sometimes bool
}{
	{"", Watched, rbac.Permission{Verb: "update", Group: v1alpha1.Group, Resource: "mysqlclusters/finalizers"},
		"no request: an admission plugin asks for it when an object with blockOwnerDeletion is made", []Suite{Envtest, E2E}, false},
	{"", Watched, rbac.Permission{Verb: "delete", Resource: "configmaps"}, monitoringStays, []Suite{E2E}, false},
	{"", Watched, rbac.Permission{Verb: "delete", Group: monitoring.GroupName, Resource: "podmonitors"}, monitoringStays, []Suite{E2E}, false},
	{"", Watched, rbac.Permission{Verb: "delete", Group: monitoring.GroupName, Resource: "prometheusrules"}, monitoringStays, []Suite{E2E}, false},
	{"", Watched, rbac.Permission{Verb: "delete", Group: v1alpha1.Group, Resource: "mysqlbackups"},
		"an object goes an hour after what it describes has gone at the earliest", []Suite{E2E}, false},
	{"", Watched, rbac.Permission{Verb: "patch", Group: "events.k8s.io", Resource: "events"},
		"an event is patched when a second one differs from it in the note alone, as when two instances are rebuilt in one round", []Suite{E2E}, true},
}

// Rare returns the exceptions of a suite for the given grants.
func Rare(suite Suite, grants []rbac.Grant) []audit.Rare {
	var out []audit.Rare
	for _, r := range rare {
		if !slices.Contains(r.suites, suite) {
			continue
		}
		kind := r.kind
		if kind == "" {
			// A ClusterRole or a Role, as the mode has it.
			kind = kindOf(r.role, grants)
		}
		out = append(out, audit.Rare{Role: kind + " " + r.role, Permission: r.permission, Why: r.why, Sometimes: r.sometimes})
	}
	return out
}

func kindOf(role string, grants []rbac.Grant) string {
	if slices.ContainsFunc(grants, func(g rbac.Grant) bool { return g.Role == rbac.KindRole+" "+role }) {
		return rbac.KindRole
	}
	return rbac.KindClusterRole
}
