// Package monitoring builds what wires a MySQL cluster into Prometheus and Grafana: a PodMonitor, a PrometheusRule and a
// ConfigMap with a dashboard. It is pure: the same cluster gives the same objects.
//
// Every expression is about one cluster, by the labels namespace and mysql_cluster that the PodMonitor puts on its series. It
// uses metrics of mysqld's exporter and of the agents alone, so that the alerts hold while the operator is away; what the
// metrics mean is in docs/mysql/metrics.md, and each alert has a page in docs/runbooks.
package monitoring
