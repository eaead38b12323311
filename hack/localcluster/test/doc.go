// Package test holds the local cluster's own end-to-end test. It is built with the tag e2e only, because it needs root
// and, the first time, several minutes to build Kubernetes.
package test
