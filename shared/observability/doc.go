// Package observability is an operator's own telemetry: metrics, traces and logs that can be joined.
//
// The keys that join them are the same everywhere:
//
//   - pod_uid: a key of every log line (jsonlog), the resource attribute k8s.pod.uid of every span and pod_uid of spans about
//     a pod, a label of kapok_operator_info and of every series about a pod.
//   - trace_id: a key of log lines that are written in a round, the trace itself, and the exemplars of histograms.
//   - kind, namespace and name of the object: keys of log lines, attributes of spans, and (the latter two) labels of every
//     series about an object.
//
// Telemetry records rounds and actions; Objects exposes what is known about each object and forgets it with the object;
// Certificates exposes when certificates expire. The exporter of traces is in the package otlp, the log lines in jsonlog.
// Nothing of it costs a round anything worth measuring while no exporter is configured (docs/platform/observability.md has
// the figures).
package observability
