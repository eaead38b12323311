// Package secretguard makes the admission policy that lets a Secret into a pod in
// one way only: as a file that is mounted read-only.
//
// An environment variable outlives its use: every child process inherits it, crash
// reports and debug endpoints print it, and it keeps the old value when the Secret
// is rotated. A file can be read when it is needed, is renewed by the kubelet, and
// is closed by file permissions.
//
// The policy is a ValidatingAdmissionPolicy: the API server evaluates it itself, so
// no webhook has to be kept alive. A namespace opts in by a label (LabelMode), to
// refuse (ModeDeny) or to report (ModeAudit).
//
// # What it looks at
//
// Pods when they are created, and ephemeral containers when they are added; the pod
// templates of Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs, CronJobs,
// ReplicationControllers and PodTemplates when they are created or the template
// changes. What is in a Namespace before it opts in stays as it is: scaling it,
// removing a finalizer and writing its status are no changes of a template.
//
// In init containers, containers and ephemeral containers it finds:
//
//   - envFrom.secretRef;
//   - env.valueFrom.secretKeyRef, optional or not;
//   - a mount without readOnly: true of a volume that names a Secret in whatever
//     way (secretVolumes lists them), or whose CSI driver fills it with secrets.
//
// What it cannot see is written in docs/platform/secret-guard.md.
package secretguard
