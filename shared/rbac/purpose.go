package rbac

import (
	"fmt"
	"slices"
)

// Purpose is why an operator may do something to a kind of object.
type Purpose struct {
	Group, Resource string
	// Name is that of the one object it is about; empty means any that no other purpose of the resource names.
	Name string
	// Verbs it is about; empty means all that no other purpose of the resource names.
	Verbs []string
	// For and Without are those of a Need.
	For, Without string
}

// Purposes are the reasons for the permissions of an operator.
type Purposes []Purpose

// Of returns the purpose of a permission, or nil.
func (ps Purposes) Of(p Permission) *Purpose {
	var rest *Purpose
	for i := range ps {
		purpose := &ps[i]
		if purpose.Group != p.Group || purpose.Resource != p.Resource || purpose.Name != "" && purpose.Name != p.Name {
			continue
		}
		if slices.Contains(purpose.Verbs, p.Verb) {
			return purpose
		}
		if len(purpose.Verbs) == 0 && (rest == nil || purpose.Name != "") {
			rest = purpose
		}
	}
	return rest
}

// Needs returns what a role gives as needs in a namespace, each with its
// purpose. A permission without a purpose is an error: nobody knows why it is
// asked for.
func (ps Purposes) Needs(role Role, namespace, from string) ([]Need, error) {
	var out []Need
	for _, permission := range PermissionsOf(role.Rules) {
		purpose := ps.Of(permission)
		if purpose == nil {
			return nil, fmt.Errorf("%s may %s, and no purpose says why", role, permission)
		}
		out = append(out, Need{Permission: permission, Namespace: namespace, For: purpose.For, Without: purpose.Without, From: from})
	}
	return out, nil
}
