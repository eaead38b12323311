package controller_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/shared/testkit"
)

// env is the one API server of this package's tests, scheme what its clients know and api a client that may do
// everything, without a limit on its rate.
var (
	env    *testkit.Env
	scheme *runtime.Scheme
	api    client.WithWatch
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if err := prepare(nil); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = env.Stop() }()
		return m.Run()
	}())
}

// prepare starts the API server, with further arguments if there are any.
func prepare(arguments map[string]string) error {
	ctrl.SetLogger(logr.Discard())
	scheme = runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, monitoringv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return fmt.Errorf("make the scheme: %w", err)
		}
	}
	var err error
	all := map[string]string{
		// Some distributions enforce that whoever sets blockOwnerDeletion may update the owner's finalizers.
		"enable-admission-plugins": "OwnerReferencesPermissionEnforcement",
		// Every cluster of every test keeps its Services to the end.
		"service-cluster-ip-range": "10.32.0.0/16",
	}
	maps.Copy(all, arguments)
	env, err = testkit.NewEnv(testkit.EnvOptions{
		Scheme:        scheme,
		CRDPaths:      []string{filepath.Join("..", "..", "config", "crd", "bases")},
		APIServerArgs: all,
	})
	if err != nil {
		return err
	}
	env.Config.QPS = -1
	api, err = client.NewWithWatch(env.Config, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	return nil
}
