// Package policy says what no operator's role may hold: whatever would let the
// operator, or whoever gets hold of it, become more than it is.
package policy

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/kapok-operators/kapok/shared/rbac"
)

// Violation is one thing that a role or a binding must not have.
type Violation struct {
	// In is the role or the binding.
	In string
	// What was found, and Why it is refused.
	What, Why string
}

// String returns the violation as a sentence.
func (v Violation) String() string { return v.In + ": " + v.What + ": " + v.Why }

// Exception allows one permission all the same.
type Exception struct {
	// Role is the kind and name of the role, Permission what it gives, both as
	// their String method writes them.
	Role, Permission string
	// Why it is justified; required.
	Why string
}

// Check judges roles, whether or not they are bound, and bindings. An exception
// that nothing needs, or that gives no reason, is a violation as well.
func Check(objects *rbac.Objects, exceptions ...Exception) []Violation {
	var out []Violation
	needed := make([]bool, len(exceptions))
	for _, role := range objects.Roles {
		if role.Aggregated {
			out = append(out, Violation{role.String(), "an aggregation rule", "its permissions come from roles that cannot be seen here"})
		}
		for _, permission := range rbac.PermissionsOf(role.Rules) {
			why := refused(role.Kind, permission)
			if why == "" {
				continue
			}
			i := slices.IndexFunc(exceptions, func(e Exception) bool {
				return e.Role == role.String() && e.Permission == permission.String() && e.Why != ""
			})
			if i >= 0 {
				needed[i] = true
				continue
			}
			out = append(out, Violation{role.String(), permission.String(), why})
		}
	}
	for i, e := range exceptions {
		if !needed[i] {
			out = append(out, Violation{e.Role, e.Permission, "an exception without a reason, or that nothing needs"})
		}
	}
	for _, binding := range objects.Bindings {
		out = append(out, bound(objects, binding)...)
	}
	return out
}

// bound judges a binding.
func bound(objects *rbac.Objects, binding rbac.Binding) []Violation {
	var out []Violation
	known := slices.ContainsFunc(objects.Roles, func(role rbac.Role) bool {
		return role.Kind == binding.Ref.Kind && role.Name == binding.Ref.Name && (role.Kind == rbac.KindClusterRole || role.Namespace == binding.Namespace)
	})
	if !known {
		out = append(out, Violation{binding.String(), "it refers to " + binding.Ref.Kind + " " + binding.Ref.Name,
			"that role is not a part of the installation, so that nobody knows what it gives"})
	}
	for _, subject := range binding.Subjects {
		switch {
		case subject.Kind != rbacv1.ServiceAccountKind:
			out = append(out, Violation{binding.String(), "the subject " + subject.Kind + " " + subject.Name, "an installation gives permissions to its own account alone"})
		case subject.Namespace == "":
			out = append(out, Violation{binding.String(), "the subject " + subject.Name + " has no namespace", "it binds nobody, and the API server refuses it"})
		}
	}
	return out
}

const (
	wildcard   = "a wildcard also gives what does not exist yet"
	escalation = "its holder can give itself more permissions"
	intrusion  = "its holder can run commands in a container, or reach into it"
)

// verbs that are refused on whatever they are granted.
var verbs = map[string]string{
	"escalate":         escalation,
	"bind":             escalation,
	"impersonate":      "its holder can become somebody else",
	"approve":          "its holder can have certificates signed for anybody",
	"sign":             "its holder can sign certificates for anybody",
	"deletecollection": "it deletes objects that nobody has looked at",
}

// anyVerb are resources that are refused whatever the verb.
var anyVerb = map[string]string{
	"/pods/exec": intrusion, "/pods/attach": intrusion, "/pods/portforward": intrusion, "/pods/proxy": intrusion, "/services/proxy": intrusion,
	"/pods/ephemeralcontainers": intrusion,
	"/nodes/proxy":              "it reaches the kubelet of every node, and with it every container",
	"/serviceaccounts/token":    "its holder can become any account of the namespace",
}

// written are resources that are refused with any verb that changes them.
var written = map[string]string{
	"/secrets":                                       "a Secret belongs to the user; an operator only reads it",
	"/nodes":                                         "a node belongs to the cluster's administrator",
	rbacv1.GroupName + "/roles":                      escalation,
	rbacv1.GroupName + "/rolebindings":               escalation,
	rbacv1.GroupName + "/clusterroles":               escalation,
	rbacv1.GroupName + "/clusterrolebindings":        escalation,
	"certificates.k8s.io/certificatesigningrequests": "its holder can ask for certificates in anybody's name",
}

var readers = []string{"get", "list", "watch"}

// refused says why a permission must not be in a role of the kind, or nothing.
func refused(kind string, p rbac.Permission) string {
	for _, word := range []string{p.Verb, p.Group, p.Resource, p.Name, p.URL} {
		if strings.Contains(word, "*") {
			return wildcard
		}
	}
	key := p.Group + "/" + p.Resource
	switch {
	case verbs[p.Verb] != "":
		return verbs[p.Verb]
	case anyVerb[key] != "":
		return anyVerb[key]
	case slices.Contains(readers, p.Verb):
		if key == "/secrets" && kind == rbac.KindClusterRole {
			return fmt.Sprintf("%s of the Secrets of all namespaces; name a namespace", p.Verb)
		}
		return ""
	default:
		return written[key]
	}
}
