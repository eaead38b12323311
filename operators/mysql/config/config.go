// Package config holds the installation. The roles in it are a part of the program as well, which asks at its start for what
// they grant.
package config

import _ "embed" // The roles.

var (
	//go:embed rbac/generated/role.yaml
	watchedRole []byte
	//go:embed rbac/own_namespace_role.yaml
	ownRole []byte
	//go:embed rbac/cluster/metrics/metrics_auth.yaml
	metricsRole []byte
)

// WatchedRole is the manifest of what the operator needs in each namespace that it watches. It is generated from the markers
// beside the code that needs it.
func WatchedRole() []byte { return watchedRole }

// OwnRole is the manifest of what it needs in its own namespace.
func OwnRole() []byte { return ownRole }

// MetricsRole is the manifest of what it needs to serve metrics to authorized readers.
func MetricsRole() []byte { return metricsRole }
