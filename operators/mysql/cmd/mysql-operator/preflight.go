package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kapok-operators/kapok/operators/mysql/internal/permission"
	"github.com/kapok-operators/kapok/shared/manager"
	"github.com/kapok-operators/kapok/shared/rbac"
)

// preflightTimeout bounds the questions at the start: about fifty, eight at a time.
const preflightTimeout = 10 * time.Second

// preflight asks whether the operator may do what it needs to. Without an answer it goes on: whatever keeps the API server
// from answering is no reason to stay away, and what is refused later is reported then.
func preflight(ctx context.Context, rc *rest.Config, in permission.Installation, log logr.Logger) error {
	needs, err := permission.Needs(in)
	if err != nil {
		return err
	}
	rc = rest.CopyConfig(rc)
	// A limit of the client's own would spread the questions over seconds.
	rc.QPS = -1
	clients, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return fmt.Errorf("make the preflight's client: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, preflightTimeout)
	defer cancel()
	checks := rbac.Preflight{Client: clients, Needs: needs, Definitions: permission.Definitions()}
	found, err := checks.Run(ctx)
	if err != nil {
		log.Error(err, "The operator's permissions could not be checked; it goes on")
		return nil
	}
	for _, gap := range rbac.Gaps(found.Lacking) {
		log.Info("A permission is missing that is not strictly needed", "finding", gap.Sentence())
	}
	for _, gap := range rbac.Gaps(found.Missing) {
		log.Error(nil, "A permission is missing", "finding", gap.Sentence())
	}
	return found.Err()
}

// installation is how the flags have the operator run in its namespace.
func installation(c manager.Config, own string) permission.Installation {
	in := permission.Installation{
		Namespaces: c.Namespaces, Own: own, Metrics: c.MetricsAddress != "" && c.MetricsAddress != "0" && !c.MetricsInsecure,
	}
	if c.LeaderElection {
		in.Election = cmp.Or(c.LeaderElectionNamespace, own)
	}
	return in
}
