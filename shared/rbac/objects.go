package rbac

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// Kinds of roles.
const (
	// KindRole gives permissions in its namespace.
	KindRole = "Role"
	// KindClusterRole gives them wherever it is bound.
	KindClusterRole = "ClusterRole"
)

// Role is a Role or a ClusterRole.
type Role struct {
	// Kind is KindRole or KindClusterRole.
	Kind string
	// Namespace is that of a Role.
	Namespace string
	Name      string
	Rules     []rbacv1.PolicyRule
	// Aggregated: its rules are collected by the API server from other roles.
	Aggregated bool
}

// String returns the kind and the name.
func (r Role) String() string { return r.Kind + " " + r.Name }

// Binding is a RoleBinding or a ClusterRoleBinding.
type Binding struct {
	// Cluster says that it is a ClusterRoleBinding.
	Cluster bool
	// Namespace is that of a RoleBinding.
	Namespace string
	Name      string
	Ref       rbacv1.RoleRef
	Subjects  []rbacv1.Subject
}

// String returns the kind and the name.
func (b Binding) String() string {
	if b.Cluster {
		return "ClusterRoleBinding " + b.Name
	}
	return "RoleBinding " + b.Namespace + "/" + b.Name
}

// Objects are the roles and bindings of an installation.
type Objects struct {
	Roles    []Role
	Bindings []Binding
}

// Grant is a permission that an account has.
type Grant struct {
	Permission
	// Namespace in which it holds; empty means all, and objects without one.
	Namespace string
	// Role that gives it, with its kind.
	Role string
}

// Parse reads the roles and bindings of a YAML stream; other kinds are passed
// over. Unknown fields in what it reads are errors: a misspelt field of a rule
// would grant something else than is meant.
func Parse(raw []byte) (*Objects, error) {
	out := &Objects{}
	reader := yamlutil.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw)))
	for i := 1; ; i++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err == nil {
			err = out.add(document)
		}
		if err != nil {
			return nil, fmt.Errorf("read object %d: %w", i, err)
		}
	}
}

func (o *Objects) add(document []byte) error {
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal(document, &kind); err != nil {
		return err
	}
	if kind.GroupVersionKind().Group != rbacv1.GroupName {
		return nil
	}
	switch kind.Kind {
	case KindRole:
		var role rbacv1.Role
		if err := yaml.UnmarshalStrict(document, &role); err != nil {
			return err
		}
		o.Roles = append(o.Roles, Role{Kind: KindRole, Namespace: role.Namespace, Name: role.Name, Rules: role.Rules})
	case KindClusterRole:
		var role rbacv1.ClusterRole
		if err := yaml.UnmarshalStrict(document, &role); err != nil {
			return err
		}
		o.Roles = append(o.Roles, Role{Kind: KindClusterRole, Name: role.Name, Rules: role.Rules, Aggregated: role.AggregationRule != nil})
	case "RoleBinding":
		var binding rbacv1.RoleBinding
		if err := yaml.UnmarshalStrict(document, &binding); err != nil {
			return err
		}
		o.Bindings = append(o.Bindings, Binding{Namespace: binding.Namespace, Name: binding.Name, Ref: binding.RoleRef, Subjects: binding.Subjects})
	case "ClusterRoleBinding":
		var binding rbacv1.ClusterRoleBinding
		if err := yaml.UnmarshalStrict(document, &binding); err != nil {
			return err
		}
		o.Bindings = append(o.Bindings, Binding{Cluster: true, Name: binding.Name, Ref: binding.RoleRef, Subjects: binding.Subjects})
	default:
		return fmt.Errorf("%s is a kind of %s that is not known here", kind.Kind, rbacv1.GroupName)
	}
	return nil
}

// Grants returns what the bindings give to a ServiceAccount by name. A binding
// to a role that is not among the objects, or in no namespace, is an error.
func (o *Objects) Grants(account types.NamespacedName) ([]Grant, error) {
	var out []Grant
	for _, binding := range o.Bindings {
		if !binding.names(account) {
			continue
		}
		if !binding.Cluster && binding.Namespace == "" {
			return nil, fmt.Errorf("%s names no namespace", binding)
		}
		role := o.role(binding)
		if role == nil {
			return nil, fmt.Errorf("%s refers to %s %s, which is not there", binding, binding.Ref.Kind, binding.Ref.Name)
		}
		for _, permission := range PermissionsOf(role.Rules) {
			out = append(out, Grant{Permission: permission, Namespace: binding.Namespace, Role: role.String()})
		}
	}
	return out, nil
}

func (b Binding) names(account types.NamespacedName) bool {
	for _, subject := range b.Subjects {
		if subject.Kind == rbacv1.ServiceAccountKind && subject.Namespace == account.Namespace && subject.Name == account.Name {
			return true
		}
	}
	return false
}

// role returns what a binding refers to, or nil.
func (o *Objects) role(b Binding) *Role {
	for i := range o.Roles {
		role := &o.Roles[i]
		if role.Kind == b.Ref.Kind && role.Name == b.Ref.Name && (role.Kind == KindClusterRole || role.Namespace == b.Namespace) {
			return role
		}
	}
	return nil
}
