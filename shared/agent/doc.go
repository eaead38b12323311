// Package agent is what a supervisor that runs as PID 1 of a container is
// built on: it starts and watches child processes, reaps orphans, keeps small
// durable state, and installs itself from an init container.
//
// # Children and orphans
//
// A Process is waited for by its own goroutine, so its end is known within a
// millisecond and with its true status. PID 1 also inherits every orphan of the
// container; Reap collects those, and only those: it never waits for an
// arbitrary child. A zombie is an orphan if it is no Process of this package
// and has stayed a zombie for two seconds; a child started with os/exec is
// collected by its own Wait long before that.
//
// # Signals
//
// A signal to PID 1 is never passed on to the child. What a stop means is the
// agent's decision (a graceful shutdown, a hand-over first, or a kill), so that
// Terminating turns the signal into a context.
package agent
