// Package campaign changes the spec of a cluster that is being written to, one change of internal/mutation after the other,
// and judges what comes of each: it is refused, the cluster converges, or it is rejected later by a condition that names the
// cause, while writes go on, and the cluster is healthy again when the change is taken back. Anything else is an alarm.
package campaign

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/mutation"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

const (
	// patience is how long a change may take until it can be judged, and the way back; two cores carry everything.
	patience = 4 * time.Minute
	// hung is the write gap that no slow machine explains.
	hung = 30 * time.Second
	// writers and pause leave the processors to what is being tested.
	writers = 2
	pause   = 25 * time.Millisecond
)

// Campaign is a series of changes of one cluster.
type Campaign struct {
	cluster  *lab.Cluster
	strict   client.Client
	workload *lab.Workload
	schema   *mutation.Schema
	grow     bool
	base     map[string]any
}

// Open reads the schema of the API from the sources, and what the lab's cluster can do.
func Open(ctx context.Context, cluster *lab.Cluster) (*Campaign, error) {
	raw, err := os.ReadFile(filepath.Join(cluster.Root, "operators", "mysql", "config", "crd", "bases", "mysql.kapok.dev_mysqlclusters.yaml"))
	if err != nil {
		return nil, fmt.Errorf("read the definition: %w", err)
	}
	schema, err := mutation.ParseSpec(raw)
	if err != nil {
		return nil, err
	}
	c := &Campaign{cluster: cluster, schema: schema, base: mutation.Base(),
		strict: client.WithFieldValidation(cluster.Client, metav1.FieldValidationStrict)}
	var classes storagev1.StorageClassList
	if err := cluster.Client.List(ctx, &classes); err != nil {
		return nil, fmt.Errorf("list the storage classes: %w", err)
	}
	for _, class := range classes.Items {
		if class.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" {
			c.grow = class.AllowVolumeExpansion != nil && *class.AllowVolumeExpansion
		}
	}
	return c, nil
}

// Changes are all that this cluster can bear, with the random parts of the seed.
func (c *Campaign) Changes(seed uint64) []mutation.Change {
	scenarios := mutation.Scenarios(mutation.Surroundings{ImageWithoutServer: c.cluster.WorkloadImage, VolumesGrow: c.grow})
	var out []mutation.Change
	for _, change := range mutation.Generate(c.schema, c.base, seed, scenarios...) {
		if c.bearable(change) {
			out = append(out, change)
		}
	}
	return out
}

// Begin makes the cluster and starts to write.
func (c *Campaign) Begin(ctx context.Context) error {
	if err := c.cluster.DeleteNamespace(ctx, c.cluster.Key.Namespace, 3*time.Minute); err != nil {
		return err
	}
	if err := c.cluster.Namespace(ctx, c.cluster.Key.Namespace); err != nil {
		return err
	}
	if err := c.cluster.UsersSecret(ctx, lab.Account, mutation.Newcomer); err != nil {
		return err
	}
	object := &unstructured.Unstructured{Object: map[string]any{"spec": c.base}}
	object.SetGroupVersionKind(mysqlv1.SchemeGroupVersion.WithKind("MySQLCluster"))
	object.SetNamespace(c.cluster.Key.Namespace)
	object.SetName(c.cluster.Key.Name)
	if err := c.strict.Create(ctx, object); err != nil {
		return fmt.Errorf("create the cluster: %w", err)
	}
	if _, err := c.cluster.WaitHealthy(ctx, patience, 1); err != nil {
		return err
	}
	// What defaults have added is part of what changes are taken back to.
	if err := c.strict.Get(ctx, c.cluster.Key, object); err != nil {
		return fmt.Errorf("read the cluster: %w", err)
	}
	c.base, _ = object.Object["spec"].(map[string]any)
	var err error
	c.workload, err = c.cluster.StartWorkload(ctx, lab.WorkloadOptions{Writers: writers, Interval: pause})
	return err
}

// End compares the rows and returns what was found, and an error if the data has not survived.
func (c *Campaign) End(ctx context.Context) (lab.Report, error) {
	report, err := c.workload.Verify(ctx)
	switch {
	case err != nil:
		return report, fmt.Errorf("read the rows back: %w", err)
	case report.Verdict.Acknowledged == 0:
		return report, errors.New("not one row was acknowledged: nothing is proven")
	case !report.Verdict.Good():
		return report, fmt.Errorf("%d acknowledged rows lost, %d rows that should not be there: %v", report.Verdict.Lost,
			report.Verdict.Phantom, report.Verdict.Examples)
	}
	return report, nil
}
