// Package e2e holds the scenarios that run the real operator and the real MySQL on a real Kubernetes. They are behind the
// build tag e2e, because they need a cluster; the README of this module says how to run them.
//
// One cluster is brought up for all of them. Most scenarios work on one MySQLCluster, shop, which each takes over healthy and
// hands on healthy; the ones that need a fresh or a broken one make it in a namespace of their own. Every scenario that
// disturbs a running MySQLCluster writes to it meanwhile, and compares what was acknowledged with what is there.
package e2e
