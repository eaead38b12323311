package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The names that the operator's installation uses.
const (
	// OperatorNamespace is where the operator runs.
	OperatorNamespace = "kapok-mysql-system"
	// OperatorName is the name of its Deployment.
	OperatorName = "mysql-operator"
	// ServerContainer is the container of an instance's pod in which the agent and mysqld run.
	ServerContainer = "mysql"
)

// Options say on which cluster to work and what to put on it. The README of this module describes each variable.
type Options struct {
	// Provider is local, kind or existing.
	Provider string
	// ClusterName is the cluster to bring up or to reuse.
	ClusterName string
	// Images are the image archives to load.
	Images []string
	// OperatorManifest is the rendered installation.
	OperatorManifest string
	// GuardManifest is the rendered Secret injection guard.
	GuardManifest string
	// MySQLRepository is the repository of operand images; empty leaves the operator's own choice.
	MySQLRepository string
	// ExporterImage is the image of the exporter beside mysqld; empty leaves the operator's own choice.
	ExporterImage string
	// WorkloadImage is the client's image.
	WorkloadImage string
	// PrometheusImage has prometheus and prometheus-alertmanager, and PrometheusArchive is the archive to load it from when a
	// scenario wants it; without an image nothing is watched.
	PrometheusImage, PrometheusArchive string
	// StoreImage has versitygw, an S3 server, and StoreArchive is the archive to load it from when a scenario wants it; without an image no
	// scenario keeps backups in a bucket.
	StoreImage, StoreArchive string
	// Root is the root of the repository.
	Root string
	// Out is where results and diagnosis go.
	Out string
	// Keep leaves the namespaces in place.
	Keep bool
}

// FromEnvironment reads the options from environment variables.
func FromEnvironment(getenv func(string) string) (Options, error) {
	directory, err := os.Getwd()
	if err != nil {
		return Options{}, fmt.Errorf("find the working directory: %w", err)
	}
	root, err := findRoot(directory)
	if err != nil {
		return Options{}, err
	}
	value := func(name, fallback string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return fallback
	}
	o := Options{
		Provider:      value("CLUSTER", "local"),
		ClusterName:   value("CLUSTER_NAME", "kapok"),
		Images:        strings.Fields(getenv("IMAGES")),
		WorkloadImage: value("WORKLOAD_IMAGE", "ghcr.io/kapok-operators/mysql-workload:dev"),
		Root:          root,
		Out:           value("OUT", filepath.Join(root, ".out")),
		Keep:          getenv("KEEP") == "true" || getenv("KEEP") == "1",
	}
	o.GuardManifest = value("GUARD_MANIFEST", filepath.Join(o.Out, "install", "mysql-secretguard.yaml"))
	o.OperatorManifest = value("OPERATOR_MANIFEST", filepath.Join(o.Out, "install", "mysql-operator.yaml"))
	repository, exporter, prometheus, archive, store, storeArchive := "", "", "", "", "", ""
	if o.Provider == "local" {
		repository, exporter = "kapok.local/mysql", "kapok.local/mysqld-exporter:0.19"
		prometheus, archive = "kapok.local/prometheus:sid", filepath.Join(o.Out, "images", "prometheus.tar")
		store, storeArchive = "kapok.local/versitygw:dev", filepath.Join(o.Out, "images", "versitygw.tar")
	}
	o.MySQLRepository = value("MYSQL_IMAGE_REPOSITORY", repository)
	o.ExporterImage = value("MYSQLD_EXPORTER_IMAGE", exporter)
	o.PrometheusImage = value("PROMETHEUS_IMAGE", prometheus)
	o.PrometheusArchive = value("PROMETHEUS_ARCHIVE", archive)
	o.StoreImage = value("STORE_IMAGE", store)
	o.StoreArchive = value("STORE_ARCHIVE", storeArchive)
	return o, nil
}

// findRoot walks up to the folder that holds go.work.
func findRoot(directory string) (string, error) {
	for at := directory; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.work")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("find the repository: no go.work in %s or above", directory)
		}
	}
}
