package manifest

import "maps"

const (
	// LabelCluster is on every object of a cluster and says which one it belongs to.
	LabelCluster = "mysql.kapok.dev/cluster"
	// ManagedBy is the value of app.kubernetes.io/managed-by, and of the label by which an EndpointSlice names its keeper.
	ManagedBy = "mysql.kapok.dev"
	// AnnotationTemplate is on every pod and says what it was made from; see TemplateHash.
	AnnotationTemplate = "mysql.kapok.dev/template"

	labelName      = "app.kubernetes.io/name"
	labelInstance  = "app.kubernetes.io/instance"
	labelManagedBy = "app.kubernetes.io/managed-by"
)

// SelectorLabels tell the pods and volume claims of a cluster from all others. They can never change: a StatefulSet's
// selector is immutable.
func SelectorLabels(cluster string) map[string]string {
	return map[string]string{labelName: "mysql", LabelCluster: cluster}
}

// Labels are put on every object of a cluster.
func Labels(cluster string) map[string]string {
	labels := SelectorLabels(cluster)
	maps.Copy(labels, map[string]string{labelInstance: cluster, labelManagedBy: ManagedBy})
	return labels
}
