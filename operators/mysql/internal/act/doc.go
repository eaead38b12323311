// Package act carries out plans. It is the only writer to the outside, save for the status: it commits records, sends
// directives, applies Kubernetes objects and deletes pods. Before anything that cannot be undone it reads live what the
// plan assumed, and does nothing if it has changed.
package act
