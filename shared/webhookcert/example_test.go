package webhookcert_test

import (
	"context"
	"flag"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/kapok-operators/kapok/shared/manager"
	"github.com/kapok-operators/kapok/shared/webhookcert"
)

// How an operator with webhooks is put together.
func Example() {
	run := func(ctx context.Context, args []string, namespace, pod string, scheme *runtime.Scheme) error {
		var (
			c     manager.Config
			hooks webhookcert.Options
		)
		fs := flag.NewFlagSet("my-operator", flag.ContinueOnError)
		manager.BindFlags(fs, &c)
		webhookcert.BindFlags(fs, &hooks)
		if err := fs.Parse(args); err != nil {
			return err
		}
		log := manager.NewLogger(c)
		rc, err := ctrl.GetConfig()
		if err != nil {
			return fmt.Errorf("find the API server: %w", err)
		}
		live, err := client.New(rc, client.Options{Scheme: scheme})
		if err != nil {
			return fmt.Errorf("make a client: %w", err)
		}
		hooks.Name, hooks.Namespace, hooks.Replica = "my-operator", namespace, pod
		hooks.Service = "my-operator-webhooks"
		hooks.Validating = []string{"my-operator"}
		hooks.Replicas = webhookcert.PodNames(live, namespace, map[string]string{"app.kubernetes.io/name": "my-operator"})
		hooks.Logger = log.WithName("webhooks")
		certificates, err := webhookcert.New(rc, hooks)
		if err != nil {
			return err
		}
		c.Name, c.Scheme = "my-operator", scheme
		c.WebhookServer = webhookcert.Server(certificates, webhook.Options{})
		mgr, err := manager.New(rc, c, log)
		if err != nil {
			return err
		}
		if err := webhookcert.AddReadyCheck(mgr, certificates); err != nil {
			return err
		}
		return mgr.Start(ctx)
	}
	_ = run
}
