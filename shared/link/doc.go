// Package link is the channel between the replicas of an operator and the
// agents that run inside the pods it manages.
//
// # Shape
//
// The agent dials out: one gRPC bidirectional stream over TLS 1.3 to every
// operator replica, so that a standby already has the live picture when it
// takes over, and no inbound port is needed in the agent's pod. The operator
// proves itself with a certificate of its own in-memory authority (Authority);
// the agent proves itself with an audience-bound and pod-bound projected
// ServiceAccount token, verified offline (JWKSVerifier) and against the
// operator's own view of the pod (HubOptions.Authorize).
//
// Over the stream flow snapshots (agent to operator, newest wins), directives
// (operator to agent, declarative, newest wins), heartbeats with echoes, and
// trust bundles. All payloads are JSON values that this package never looks
// into.
//
// A broken or silent stream is a signal, never a verdict: the hub reports it
// and keeps the last snapshot visible, marked as lost.
//
// # Leases over echoes
//
// The server may attach a payload to each echo (HubOptions.HeartbeatReply), for
// example the grant of a lease. A client that counts such a grant must count it
// from ServerState.EchoSent, the moment at which the answered heartbeat was
// made, not from the moment at which the echo arrived: an echo may have been
// under way for any length of time.
//
// # Wire format
//
// The service is described by hand (see service.go) and its messages are
// encoded as JSON, so that neither protoc nor generated code is needed. The
// messages are few and small; an Envelope is the only message type in both
// directions. The codec is forced on both sides and is not registered
// globally.
package link
