package controller_test

import (
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	ac "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
)

// seed makes a cluster that has been at work for a while, without living through its youth.
func (w *world) seed(n int32, change func(*v1alpha1.MySQLCluster)) {
	w.t.Helper()
	w.create(func(c *v1alpha1.MySQLCluster) {
		c.Spec.Instances = n
		if change != nil {
			change(c)
		}
	})
	record := ac.Record().WithEpoch(1).WithPrimary(w.pod(0))
	for i := range int(n) {
		record.WithVoters(w.pod(i))
	}
	desired := ac.MySQLCluster(w.name.Name, w.name.Namespace).WithStatus(ac.MySQLClusterStatus().WithRecord(record))
	if err := api.Status().Apply(w.t.Context(), desired, client.FieldOwner("kapok-mysql-record")); err != nil {
		w.t.Fatalf("seed the record: %v", err)
	}
	if err := w.round(); err != nil {
		w.t.Fatalf("make the objects: %v", err)
	}
	if got := len(w.podUIDs()); got != int(n) {
		w.t.Fatalf("the first round has led to %d pods: %s", got, w.snapshot())
	}
	history, err := gtid.Parse("00000000-0000-4000-8000-00000000ffff:1-100")
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range int(n) {
		w.agents.with(w.pod(i), func(a *agent) {
			a.blank, a.held, a.promised = false, history, 1
			if i == 0 {
				a.source = true
			}
		})
	}
	w.until("healthy cluster", w.healthy(w.pod(0)))
	w.settle()
}
