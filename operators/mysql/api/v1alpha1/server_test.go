package v1alpha1_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/shared/testkit"
)

// crdFile is the generated definition, relative to this package.
var crdFile = filepath.Join("..", "..", "config", "crd", "bases", "mysql.kapok.dev_mysqlclusters.yaml")

// backupFile is the one of MySQLBackup.
var backupFile = filepath.Join("..", "..", "config", "crd", "bases", "mysql.kapok.dev_mysqlbackups.yaml")

// restoreFile is the one of MySQLRestore.
var restoreFile = filepath.Join("..", "..", "config", "crd", "bases", "mysql.kapok.dev_mysqlrestores.yaml")

// namespace is where every object of these tests is made.
const namespace = "corpus"

// startServer starts a real API server that knows the kinds of this package and returns a strict client for it. It needs
// KAPOK_KUBE_BIN.
func startServer(t *testing.T) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatalf("build the scheme: %v", err)
		}
	}
	env := testkit.StartEnv(t, testkit.EnvOptions{Scheme: scheme, CRDPaths: []string{crdFile, backupFile, restoreFile}})
	env.Config.QPS = -1
	unthrottled, err := client.New(env.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatalf("make a client: %v", err)
	}
	api := client.WithFieldValidation(unthrottled, metav1.FieldValidationStrict)
	if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		t.Fatalf("create the namespace: %v", err)
	}
	return api
}

// remove deletes an object that a case has made, so that the next case may use its name.
func remove(t *testing.T, api client.Client, object client.Object) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := client.IgnoreNotFound(api.Delete(ctx, object)); err != nil {
		t.Errorf("delete %s: %v", object.GetName(), err)
	}
}
