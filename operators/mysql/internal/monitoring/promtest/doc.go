// Package promtest proves what package monitoring builds on the real Prometheus and Alertmanager: that the rules are valid,
// when exactly an alert fires and resolves, that every metric that an expression names is one that is documented (and which
// the agent's component test finds on a real server), and that a notification reaches a WeCom robot in the form that it takes.
//
// It needs KAPOK_PROMETHEUS, the folder with the programs; `make test` sets it.
package promtest
