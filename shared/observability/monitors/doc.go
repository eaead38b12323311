// Package monitors keeps the objects that wire a product into Prometheus and Grafana: PodMonitors and PrometheusRules of
// prometheus-operator. It knows no product; what stands in them is built elsewhere.
//
// # Kinds that may not be there
//
// Their definitions may be missing, come later, or go. A cache that is asked for a kind that does not exist fails, so these
// kinds have one of their own, which runs only while they are there and may be read (Watcher). Whether they are is asked of
// the API server's discovery, which every account may read: an operator that is confined to its namespace has no permission
// to watch definitions. One small request every half minute is the price.
//
// # Permissions that may be missing
//
// A missing permission is a State with a sentence, never an error that ends the operator: databases do not depend on being
// watched.
package monitors
