// Package exporter runs mysqld_exporter in its own container of an instance's pod and stands in front of it. It is there for
// what the exporter does not do by itself:
//
//   - It waits for the file with the account's password, which the agent writes when it starts mysqld, instead of ending for
//     want of it: a container that ends again and again would make its pod unready.
//   - It has the exporter read the file again when the agent has replaced it, so that a new password needs no restart.
//   - It answers GET /metrics and nothing else. The exporter itself also serves /probe, which connects with its password to
//     whatever server a request names, and /-/reload and /debug/pprof; it listens on the loopback address alone.
//   - It repeats some metrics under the names that they had before MySQL 8.4 renamed the columns of the replica's status, so
//     that rules and dashboards made for them go on (see Renamed).
package exporter
