package webhookcert

import (
	"context"
	"encoding/pem"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/shared/pki"
	"github.com/kapok-operators/kapok/shared/testkit/webhooks"
)

var (
	rotations = flag.Int("rotations", 100, "how many times TestRotationsUnderLoad changes an authority")
	verbose   = flag.Bool("rotation.log", false, "log what each replica of TestRotationsUnderLoad does")
)

const (
	day = 24 * time.Hour
	// requests are sent for each rotation at least.
	requests = 5
)

// fleet is an operator with several replicas behind one address.
type fleet struct {
	t        *testing.T
	rc       *rest.Config
	options  Options
	balancer *balancer
	// hooks is what makes the API server call the balancer, load what makes it do so now.
	hooks webhooks.Installation
	load  *webhooks.Load
	// pace is the uptime of all replicas, which each can turn.
	pace  *pace
	calls calls

	mu     sync.Mutex
	live   []string
	born   int
	clocks map[string]*dials
}

func newFleet(t *testing.T, name string) *fleet {
	f := &fleet{t: t, balancer: balance(t), clocks: map[string]*dials{}}
	f.hooks = webhooks.Installation{Name: name, Address: f.balancer.address}
	f.load = webhooks.NewLoad(env.Client, f.hooks)
	f.pace = keepPace(t, f.load.Oldest)
	f.options = Options{
		Mode: ModeSelf, Name: name, Namespace: "default", Hosts: []string{"127.0.0.1"}, RenewBefore: pki.DefaultRenewBefore,
		Validating: []string{name}, Mutating: []string{name}, Conversions: []string{f.hooks.Definition().Name},
		Replicas: func(context.Context) ([]string, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			return slices.Clone(f.live), nil
		},
		Logger: logr.Discard(),
	}
	if *verbose {
		f.options.Logger = testr.New(t)
	}
	f.rc = operator(t, name, f.options)
	return f
}

// join starts a replica, which gets requests as soon as it is ready.
func (f *fleet) join() *served {
	f.t.Helper()
	f.mu.Lock()
	f.born++
	o, clock := f.options, &dials{ticks: f.pace.uptime}
	o.Replica = fmt.Sprintf("replica-%d", f.born)
	o.Logger = o.Logger.WithName(o.Replica)
	o.times = quick(clock)
	f.live = append(f.live, o.Replica)
	f.clocks[o.Replica] = clock
	f.mu.Unlock()
	source, err := New(f.rc, o)
	if err != nil {
		f.t.Fatal(err)
	}
	replica := serve(f.t, o.Replica, source, &f.calls)
	f.balancer.add(replica)
	return replica
}

// lose stops a replica for good.
func (f *fleet) lose(replica *served) {
	f.t.Helper()
	f.balancer.remove(replica)
	// Connections that were passed to it are answered.
	if err := until(replica.name+" has answered", func() bool { return replica.passed.Load() == 0 }); err != nil {
		f.t.Error(err)
	}
	if err := replica.stop(); err != nil {
		f.t.Errorf("%s ended with %v", replica.name, err)
	}
	f.mu.Lock()
	f.live = slices.DeleteFunc(f.live, func(name string) bool { return name == replica.name })
	f.mu.Unlock()
}

// rotate makes a replica follow its authority by a new one, by turning one of its
// clocks, and waits until the old one is gone.
func (f *fleet) rotate(random *rand.Rand, replica *served) error {
	clock, before := f.clock(replica), replica.Status()
	hours := func() int64 { return int64(time.Duration(random.IntN(20)-10) * time.Hour) }
	if random.IntN(2) == 0 {
		// The date jumps to where little is left of the authority.
		clock.wall.Store(int64(time.Until(before.AuthorityNotAfter) - 8*day))
	} else {
		// It comes back, give or take some hours, and the authority grows old.
		clock.wall.Store(hours())
		clock.uptime.Add(int64(21 * day))
	}
	return until("the authority of "+replica.name+" has changed", func() bool {
		if random.IntN(30) == 0 {
			// Hours either way, also in the middle of it.
			clock.wall.Add(hours())
		}
		status := replica.Status()
		return status.AuthorityChanges > before.AuthorityChanges && status.Trusted
	})
}

func (f *fleet) clock(replica *served) *dials {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clocks[replica.name]
}

// bundles are the bundles of the fleet's configurations, by name.
func (f *fleet) bundles() map[string][]byte {
	f.t.Helper()
	ctx, out := f.t.Context(), map[string][]byte{}
	var v admissionv1.ValidatingWebhookConfiguration
	var m admissionv1.MutatingWebhookConfiguration
	var crd apiextensionsv1.CustomResourceDefinition
	for object, name := range map[client.Object]string{&v: f.options.Name, &m: f.options.Name, &crd: f.options.Conversions[0]} {
		if err := env.Client.Get(ctx, client.ObjectKey{Name: name}, object); err != nil {
			f.t.Fatal(err)
		}
	}
	for _, w := range v.Webhooks {
		out["validating "+w.Name] = w.ClientConfig.CABundle
	}
	for _, w := range m.Webhooks {
		out["mutating "+w.Name] = w.ClientConfig.CABundle
	}
	out["conversion"] = crd.Spec.Conversion.Webhook.ClientConfig.CABundle
	return out
}

// someCA is an authority that is none of ours, in PEM.
func someCA(t *testing.T) []byte {
	t.Helper()
	s, err := pki.NewSigner(pki.Moment{Wall: time.Now()}, pki.SignerOptions{Group: "another/operator", Replica: "x", DNSNames: []string{"x"}, Life: day})
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate.Raw})
}

// configure creates the configurations that call the fleet, with the bundle that
// a user has put there.
func (f *fleet) configure(bundle, elsewhere []byte) {
	f.t.Helper()
	hooks := f.hooks
	hooks.Bundle = bundle
	validating := hooks.Validating()
	// Somebody else's webhook in the same configuration, which is never called.
	validating.Webhooks = append(validating.Webhooks, admissionv1.ValidatingWebhook{
		Name: "elsewhere.kapok.dev", ClientConfig: webhooks.ClientConfig("elsewhere.example:443", "/", elsewhere), Rules: webhooks.Rules("nothing.kapok.dev", "nothings"),
		SideEffects: new(admissionv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
	})
	create(f.t, validating, hooks.Mutating(), hooks.Definition(), hooks.Namespace())
	eventually(f.t, "the API server serves Widgets", func() bool {
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion(hooks.Group() + "/v1")
		list.SetKind("WidgetList")
		return env.Client.List(f.t.Context(), list) == nil
	})
}

// TestRotationsUnderLoad changes the authorities of ten replicas a hundred
// times while requests go through validating, mutating and conversion webhooks,
// with clocks that jump and a replica that is lost and replaced now and then. No
// request fails, and no server is started twice.
func TestRotationsUnderLoad(t *testing.T) {
	f := newFleet(t, "rotations")
	foreign := append([]byte("# our own\n"), someCA(t)...)
	f.configure(foreign, foreign)
	var replicas []*served
	for range 10 {
		replicas = append(replicas, f.join())
	}
	for _, replica := range replicas {
		eventually(t, replica.name+" is ready", func() bool { return replica.Ready(nil) == nil })
	}
	l := f.load
	eventually(t, "the webhooks are called", func() bool { return l.Try(t.Context()) == nil })
	ctx, stop := context.WithCancel(t.Context())
	var workers, rotators sync.WaitGroup
	for worker := range 3 {
		workers.Go(func() { l.Work(ctx, worker) })
	}
	began, rejectedBefore := time.Now(), rejections.Count.Load()
	lost := 0
	var left, leaves atomic.Int64
	left.Store(int64(*rotations))
	for i := range replicas {
		random := rand.New(rand.NewPCG(uint64(i), 1))
		rotators.Go(func() {
			mine := 0
			for {
				// The load keeps up with the rotations, however slow the machine makes it.
				number := int64(*rotations) - left.Add(-1)
				if number > int64(*rotations) {
					return
				}
				if err := until("enough requests were sent", func() bool { return l.Sent.Load() >= requests*number }); err != nil {
					t.Error(err)
					return
				}
				if err := f.rotate(random, replicas[i]); err != nil {
					t.Error(err)
					return
				}
				mine++
				// One of them dies after every fifth of its rotations.
				if i == 0 && mine%5 == 0 {
					f.lose(replicas[0])
					leaves.Add(int64(replicas[0].Status().Changes))
					replicas[0] = f.join()
					lost++
					if err := until("the replacement is ready", func() bool { return replicas[0].Ready(nil) == nil }); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	rotators.Wait()
	took := time.Since(began)
	stop()
	workers.Wait()
	for _, replica := range replicas {
		leaves.Add(int64(replica.Status().Changes))
	}
	replicasBorn, refusedHandshakes := f.born, rejections.Count.Load()-rejectedBefore
	t.Logf("%d rotations of an authority (%d certificates) in %s, %d replicas lost and replaced; %d requests of which %d failed (%d tries, %d refusals, the longest took %s); "+
		"%d validations, %d mutations, %d conversions over %d TLS handshakes of which %d were rejected; %d servers started for %d replicas: %d restarts",
		*rotations, leaves.Load(), took.Round(time.Second), lost, l.Sent.Load(), l.Failed.Load(), l.Dried.Load(), l.Refused.Load(), l.Longest().Round(time.Millisecond),
		f.calls.Validated.Load(), f.calls.Mutated.Load(), f.calls.Converted.Load(), f.calls.handshakes.Load(), refusedHandshakes, f.calls.starts.Load(), replicasBorn,
		f.calls.starts.Load()-int64(replicasBorn))
	for _, failure := range l.Failures() {
		t.Error(failure)
	}
	if f.calls.starts.Load() != int64(replicasBorn) || leaves.Load() < int64(*rotations) {
		t.Errorf("%d certificates for %d rotations, %d starts for %d replicas", leaves.Load(), *rotations, f.calls.starts.Load(), replicasBorn)
	}
	// The API server also calls for itself, with nobody to see it fail.
	if refusedHandshakes > 0 {
		t.Errorf("%d handshakes were rejected", refusedHandshakes)
	}
	if l.Sent.Load() < requests*int64(*rotations) || f.calls.Converted.Load() == 0 || f.calls.handshakes.Load() < l.Sent.Load() {
		t.Error("the load was too light to prove anything")
	}
	f.checkBundles(foreign)
}

// checkBundles says whether the bundles come to hold what lives, what is a
// user's, and nothing else.
func (f *fleet) checkBundles(foreign []byte) {
	t := f.t
	t.Helper()
	f.mu.Lock()
	want := slices.Sorted(slices.Values(f.live))
	f.mu.Unlock()
	var got []string
	eventually(t, "the bundles hold what lives", func() bool {
		for name, bundle := range f.bundles() {
			if strings.Contains(name, "elsewhere") {
				continue
			}
			got = nil
			for _, entry := range pki.Entries(bundle, f.options.group()) {
				if entry.Replica != "" {
					got = append(got, entry.Replica)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				return false
			}
		}
		return true
	})
	for name, bundle := range f.bundles() {
		if !strings.HasPrefix(string(bundle), string(foreign)) {
			t.Errorf("%s does not hold any more what a user has put there:\n%s", name, bundle)
		}
		if strings.Contains(name, "elsewhere") && string(bundle) != string(foreign) {
			t.Errorf("%s calls somebody else and was changed:\n%s", name, bundle)
		}
	}
}
