package rbac

import (
	"cmp"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// Permission is one verb on one kind of object, or on one URL that is no
// resource.
type Permission struct {
	Verb string
	// Group is the API group; empty is the core group.
	Group string
	// Resource may have a subresource: pods/status.
	Resource string
	// Name is the one object that it is about; empty means any.
	Name string
	// URL is set instead of Group, Resource and Name.
	URL string
}

// String returns the permission in words: patch statefulsets.apps, get
// leases.coordination.k8s.io named shop.
func (p Permission) String() string {
	if p.URL != "" {
		return p.Verb + " " + p.URL
	}
	out := p.Verb + " " + p.What()
	if p.Name != "" {
		out += " named " + p.Name
	}
	return out
}

// What returns the resource with its group, as kubectl takes it; a subresource
// follows at the end.
func (p Permission) What() string {
	resource, sub, _ := strings.Cut(p.Resource, "/")
	if p.Group != "" {
		resource += "." + p.Group
	}
	if sub != "" {
		resource += "/" + sub
	}
	return resource
}

// Covers says whether whoever has p may do q, as the API server's RBAC
// authorizer decides it.
func (p Permission) Covers(q Permission) bool {
	if !matches(p.Verb, q.Verb) {
		return false
	}
	if p.URL != "" || q.URL != "" {
		prefix, open := strings.CutSuffix(p.URL, "*")
		return p.URL == q.URL || open && strings.HasPrefix(q.URL, prefix)
	}
	return matches(p.Group, q.Group) && matchesResource(p.Resource, q.Resource) && (p.Name == "" || p.Name == q.Name)
}

func matches(have, want string) bool { return have == want || have == rbacv1.VerbAll }

func matchesResource(have, want string) bool {
	if matches(have, want) {
		return true
	}
	// Every resource that has this subresource.
	sub, all := strings.CutPrefix(have, rbacv1.ResourceAll+"/")
	_, wanted, _ := strings.Cut(want, "/")
	return all && sub == wanted
}

// PermissionsOf returns what rules give, sorted, each once.
func PermissionsOf(rules []rbacv1.PolicyRule) []Permission {
	var out []Permission
	for _, rule := range rules {
		for _, verb := range rule.Verbs {
			for _, url := range rule.NonResourceURLs {
				out = append(out, Permission{Verb: verb, URL: url})
			}
			out = append(out, resources(rule, verb)...)
		}
	}
	slices.SortFunc(out, Compare)
	return slices.Compact(out)
}

func resources(rule rbacv1.PolicyRule, verb string) []Permission {
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	var out []Permission
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			for _, name := range names {
				out = append(out, Permission{Verb: verb, Group: group, Resource: resource, Name: name})
			}
		}
	}
	return out
}

// Compare orders permissions by what they are about, then by verb.
func Compare(a, b Permission) int {
	return cmp.Or(cmp.Compare(a.URL, b.URL), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Resource, b.Resource),
		cmp.Compare(a.Name, b.Name), cmp.Compare(a.Verb, b.Verb))
}
