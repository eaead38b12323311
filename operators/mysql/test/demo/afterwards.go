package main

import "fmt"

// afterwards says how to connect and how to take everything down.
func (d *demo) afterwards() {
	kubectl := "kubectl"
	down := "make demo-down"
	switch d.lab.Provider {
	case "local":
		// A fresh machine has no kubectl; the cluster brings one.
		kubectl = "bin/localcluster kubectl"
		if d.lab.ClusterName != "kapok" {
			kubectl = fmt.Sprintf("KAPOK_CLUSTER=%s %s", d.lab.ClusterName, kubectl)
		}
	case "kind":
		kubectl = "kubectl --context kind-" + d.lab.ClusterName
	case "existing":
		down = fmt.Sprintf("kubectl delete namespace %s && kubectl delete -f %s -f %s", namespace,
			d.lab.OperatorManifest, d.lab.GuardManifest)
	}
	fmt.Printf(`The cluster is still running.
  look at it:    %[1]s -n %[2]s get mysql %[3]s -o wide
  what happened: %[1]s -n %[2]s events --for mysqlcluster/%[3]s
  write to it:   %[3]s.%[2]s.svc:3306   passwords in the Secret %[3]s-users
  a shell:       %[1]s -n %[2]s exec -it %[3]s-0 -c mysql -- mysql --user=USER --password --host=%[3]s
  take it down:  %[4]s
`, kubectl, namespace, name, down)
}
