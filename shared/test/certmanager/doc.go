// Package certmanager tests the webhook certificates of mode cert-manager with
// cert-manager itself: its controllers and its injector, from its Go module. It
// is a module of its own, so that the shared library does not come to depend on
// what is only tested with.
package certmanager
