// Package lab is a Kubernetes cluster with the MySQL operator in it, and hands to do things to it: install, apply, wait,
// find the primary, kill its mysqld, take its node away, run the workload, and say what was going on when a wait ended
// without success. Every wait has a deadline and names what it waited for.
package lab
