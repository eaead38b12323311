package permission

import (
	"github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/shared/rbac"
)

// purposes say what each permission is for. docs/platform/permissions.md shows them.
var purposes = rbac.Purposes{
	{Group: v1alpha1.Group, Resource: "mysqlclusters",
		For: "learn of MySQLClusters, put its finalizer on them, and answer requests that are made by annotation"},
	{Group: v1alpha1.Group, Resource: "mysqlclusters/status",
		For: "record who is the primary, which nothing is done without, and say how a cluster is"},
	{Group: v1alpha1.Group, Resource: "mysqlclusters/finalizers",
		For: "make objects that hold a MySQLCluster's deletion back until they are gone, where the API server enforces who may"},
	{Group: v1alpha1.Group, Resource: "mysqlbackups",
		For: "learn of MySQLBackups, make those that are due, hold back the deletion of those whose deletionPolicy is Delete, and delete those of which nothing is stored any more"},
	{Group: v1alpha1.Group, Resource: "mysqlbackups/status",
		For: "record which instance takes a backup, and say how far it is"},
	{Group: "apps", Resource: "statefulsets",
		For: "keep the set of instances of a cluster"},
	{Resource: "services",
		For: "give a cluster its names: for writes, for reads, and for the instances among each other"},
	{Group: "discovery.k8s.io", Resource: "endpointslices",
		For: "lead a Service to the primary or the replicas, which a label cannot do in time"},
	{Resource: "configmaps",
		For: "give instances the certificates by which they know the operator, and Grafana a cluster's dashboard"},
	{Resource: "configmaps", Verbs: []string{"delete"},
		For: "remove the dashboard of a cluster that is not monitored any more", Without: "such a dashboard stays, and the condition Monitored says so"},
	{Resource: "configmaps", Name: "mysql-operator-link",
		For: "publish the certificates of its replicas, which instances know them by"},
	{Resource: "serviceaccounts",
		For: "give the instances of a cluster an account of their own, which may do nothing"},
	{Group: "policy", Resource: "poddisruptionbudgets",
		For: "keep a drain of nodes from taking a quorum away"},
	{Resource: "pods", Verbs: []string{"list", "watch"},
		For: "see the instances, and who is behind a connection; in its own namespace, the operator's replicas"},
	{Resource: "pods", Verbs: []string{"delete"},
		For: "restart an instance with a new image or configuration, in an order that loses nothing"},
	{Resource: "persistentvolumeclaims", Verbs: []string{"list", "watch"},
		For: "see which volumes hold data before anything is founded or rebuilt"},
	{Resource: "persistentvolumeclaims", Verbs: []string{"patch"},
		For: "enlarge volumes"},
	{Resource: "persistentvolumeclaims", Verbs: []string{"delete"},
		For: "remove the volumes of a deleted cluster whose deletionPolicy is Delete, and of no other"},
	{Group: monitoring.GroupName, Resource: "podmonitors",
		For: "tell Prometheus where the metrics of a cluster are", Without: "nothing of a cluster's monitoring is kept, and the condition Monitored says so"},
	{Group: monitoring.GroupName, Resource: "prometheusrules",
		For: "give Prometheus the alerts of a cluster", Without: "nothing of a cluster's monitoring is kept, and the condition Monitored says so"},
	{Group: "events.k8s.io", Resource: "events",
		For: "tell what it did as events", Without: "kubectl describe shows no events of a cluster"},
	{Group: "coordination.k8s.io", Resource: "leases",
		For: "elect a leader among its replicas"},
	{Group: "authentication.k8s.io", Resource: "tokenreviews",
		For: "ask who reads the metrics", Without: "nobody can read the metrics"},
	{Group: "authorization.k8s.io", Resource: "subjectaccessreviews",
		For: "ask whether a reader may read the metrics", Without: "nobody can read the metrics"},
}
