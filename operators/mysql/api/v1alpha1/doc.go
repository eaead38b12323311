// Package v1alpha1 is the API of the MySQL operator: the kind MySQLCluster in mysql.kapok.dev/v1alpha1, with its
// defaults and validation rules. It holds types and constants only; what they lead to is decided elsewhere.
//
// Every rule lives in the CustomResourceDefinition itself (bounds, enums and CEL), so that a wrong manifest is refused
// when it is applied, with a sentence that says what to do. testdata/ holds manifests that must be accepted and
// manifests that must be refused; a test applies all of them to a real API server and fails if a rule has no case.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +groupName=mysql.kapok.dev
package v1alpha1
