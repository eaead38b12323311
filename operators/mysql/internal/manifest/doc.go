// Package manifest builds the Kubernetes objects of a MySQL cluster, as typed apply configurations for server-side apply.
// It is pure: the same Input gives the same objects, and nothing is read from anywhere else.
//
// What surrounds the instances, in the order of Objects:
//
//   - a ServiceAccount without any permission; its token, bound to the pod and good for the operator alone, is how an
//     agent proves which instance it is;
//   - a ConfigMap with the certificates of the operator's link;
//   - a headless Service that names the pods, and three Services for clients without a selector: where they lead is
//     decided by the operator, which writes their EndpointSlices (see EndpointSlice);
//   - a PodDisruptionBudget that lets one instance go at a time;
//   - a StatefulSet that replaces no pod by itself (OnDelete): the operator chooses when and in which order.
//
// The configuration of mysqld, the users and the roles are not in any of these: they travel over the link, so that a
// change of them replaces no pod. TemplateHash says what does.
package manifest
