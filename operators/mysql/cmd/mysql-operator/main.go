// Command mysql-operator runs MySQLClusters. This file is the composition root: flags, wiring, nothing else.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"time"
	_ "time/tzdata" // Time zones of schedules: the image has no file of them.

	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/kapok-operators/kapok/operators/mysql/internal/act"
	"github.com/kapok-operators/kapok/operators/mysql/internal/controller"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
	"github.com/kapok-operators/kapok/operators/mysql/internal/observe"
	"github.com/kapok-operators/kapok/operators/mysql/internal/report"
	"github.com/kapok-operators/kapok/shared/apply"
	"github.com/kapok-operators/kapok/shared/event"
	"github.com/kapok-operators/kapok/shared/link"
	"github.com/kapok-operators/kapok/shared/manager"
)

// name is the operator's: its field manager, its lease and its Deployment are called so.
const name = "mysql-operator"

// config is what the flags say.
type config struct {
	manager  manager.Config
	manifest manifest.Config
	linkBind string
	// linkKeys is the folder in which the link's authority outlives a restart of the container; empty for nowhere.
	linkKeys string
}

func main() {
	if err := run(ctrl.SetupSignalHandler(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, name+": "+err.Error())
		if errors.Is(err, manager.ErrLeadershipLost) {
			fmt.Fprintln(os.Stderr, name+": "+manager.Again().Error())
		}
		os.Exit(1)
	}
}

func parse(args []string) (config, error) {
	var c config
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	manager.BindFlags(fs, &c.manager)
	fs.StringVar(&c.manifest.OperatorImage, "operator-image", "", "this operator's own `image`; the agent is copied out of it")
	fs.StringVar(&c.manifest.MySQLRepository, "mysql-image-repository", "docker.io/library/mysql", "image `repository` of MySQL; the tag is spec.version")
	fs.StringVar(&c.manifest.ExporterImage, "mysqld-exporter-image", "docker.io/prom/mysqld-exporter:v0.19.0", "`image` of the exporter beside mysqld, unless spec.monitoring.image names another")
	fs.StringVar(&c.manifest.LinkAddress, "link-address", "", "`host:port` where agents find the operator's replicas")
	fs.StringVar(&c.linkBind, "link-bind-address", ":9443", "where to listen for agents")
	fs.StringVar(&c.linkKeys, "link-keys", "", "folder in memory that keeps the link's authority over restarts of the container; agents trust a restarted replica at once then")
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	if c.manifest.OperatorImage == "" || c.manifest.LinkAddress == "" {
		return c, fmt.Errorf("--operator-image and --link-address are required")
	}
	return c, nil
}

func run(ctx context.Context, args []string) error {
	c, err := parse(args)
	if err != nil {
		return err
	}
	log := manager.NewLogger(c.manager)
	manager.SetLogger(log)
	c.manager.Name, c.manager.Version, c.manager.Metrics = name, version(), metrics.Registry
	if c.manager.Scheme, err = newScheme(); err != nil {
		return err
	}
	c.manager.ByObject = watched()
	// A round that waits for an API server that has gone must not keep the next one from another.
	c.manager.ReconciliationTimeout = roundTimeout
	rc, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	own, err := c.manager.OwnNamespace()
	if err != nil {
		return err
	}
	if err := preflight(ctx, rc, installation(c.manager, own), log.WithName("preflight")); err != nil {
		return err
	}
	mgr, err := manager.New(rc, c.manager, log)
	if err != nil {
		return err
	}
	clients, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}

	measured, err := report.NewMetrics(c.manager.Metrics)
	if err != nil {
		return err
	}
	wake, grants := &controller.Wake{}, &act.Grants{Sure: mgr.Term.Sure}
	agents, err := listen(mgr, clients, c, wake, grants)
	if err != nil {
		return err
	}
	monitored, err := watchMonitors(mgr, rc, c, wake)
	if err != nil {
		return err
	}
	observer := &observe.Observer{
		Cached: mgr.GetClient(), Live: mgr.GetAPIReader(), Peers: agents.hub, Term: mgr.Term.Term,
		Inherits: mgr.Term.AfterExpiry, Outdated: c.manifest.Outdated, Image: c.manifest.Image, Now: time.Now,
	}
	reconciler := &controller.Reconciler{
		Observer: observer,
		Actor: &act.Actor{
			Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Agents: agents.hub, Memory: observer, Telemetry: mgr.Telemetry,
			Objects: &act.KubernetesObjects{
				Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Config: c.manifest, LinkCA: agents.trust,
				Applier:  &apply.Applier{Client: mgr.GetClient(), FieldOwner: name},
				Monitors: monitored, MonitorApplier: &apply.Applier{Client: monitored.Client(mgr.GetClient()), FieldOwner: name},
			},
		},
		Reporter: &report.Reporter{
			Client: mgr.GetClient(), Events: event.NewEmitter(mgr.GetEventRecorder(name), eventMemory), Now: time.Now,
			Metrics: measured,
		},
		Grants: grants, Telemetry: mgr.Telemetry,
	}
	if err := reconciler.Setup(ctx, mgr, wake, controller.Options{Workers: c.manager.Concurrency}); err != nil {
		return fmt.Errorf("set up the controller: %w", err)
	}
	restores := &controller.RestoreReconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Events: event.NewEmitter(mgr.GetEventRecorder(name), eventMemory), Telemetry: mgr.Telemetry, Now: time.Now,
	}
	if err := restores.Setup(mgr); err != nil {
		return fmt.Errorf("set up the controller of restores: %w", err)
	}
	return mgr.Start(ctx)
}

// version returns what the build says it is.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return ""
}

// roundTimeout bounds one round of one cluster. On a network with a round trip of half a second the longest takes several.
const roundTimeout = 15 * time.Second

// eventMemory is how many event states are remembered, a few per cluster.
const eventMemory = 50_000

// linkServer is the operator's end of the links to all agents.
type linkServer struct {
	hub   *link.Hub
	trust func() []byte
}
