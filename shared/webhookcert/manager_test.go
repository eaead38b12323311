package webhookcert

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/kapok-operators/kapok/shared/manager"
	"github.com/kapok-operators/kapok/shared/testkit/webhooks"
)

// TestManagerThatCachesWhatItConverts: the cache of a manager cannot fill before
// the conversion that the same manager serves is trusted, so that must come first.
func TestManagerThatCachesWhatItConverts(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "cached")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().(*net.TCPAddr)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	f.options.Validating, f.options.Mutating = nil, nil
	f.hooks.Address = address.String()
	create(t, f.hooks.Definition())
	eventually(t, "a Widget is stored", func() bool {
		err := env.Client.Create(t.Context(), f.hooks.Widget("v1", "default", "stored"))
		return err == nil
	})
	o := f.options
	o.Replica, o.times = "replica", quick(newDials())
	source, err := New(operator(t, "cached-operator", o), o)
	if err != nil {
		t.Fatal(err)
	}
	var c calls
	server := Server(source, webhook.Options{Host: "127.0.0.1", Port: address.Port, TLSOpts: []func(*tls.Config){webhooks.HTTP1}})
	c.Register(server)
	config := manager.Config{
		Name: "cached", Scheme: env.Client.Scheme(), HealthAddress: "0", MetricsAddress: "0", GracefulStop: time.Second, WebhookServer: server,
	}
	mgr, err := manager.New(env.Config, config, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	if err := AddReadyCheck(mgr, source); err != nil {
		t.Fatal(err)
	}
	// Asking for the server is what makes a manager run it, as building a webhook does.
	mgr.GetWebhookServer()
	converted := f.hooks.Widget("v2", "", "")
	if _, err := mgr.GetCache().GetInformer(t.Context(), converted); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the cache holds the converted Widget", func() bool {
		got := &unstructured.Unstructured{}
		got.SetGroupVersionKind(converted.GroupVersionKind())
		return mgr.GetCache().Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "stored"}, got) == nil &&
			strings.HasSuffix(got.GetAPIVersion(), "/v2")
	})
	eventually(t, "the operator is ready", func() bool { return source.Ready(nil) == nil })
	if c.Converted.Load() == 0 {
		t.Error("nothing was converted")
	}
}
