package webhookcert

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kapok-operators/kapok/shared/pki"
)

// Mode is a way to come by a serving certificate.
type Mode string

// The modes.
const (
	// ModeSelf makes the certificate in memory and publishes its authority.
	ModeSelf Mode = "self"
	// ModeCertManager reads what cert-manager keeps in a mounted Secret.
	ModeCertManager Mode = "cert-manager"
	// ModeOLM reads what the Operator Lifecycle Manager mounts.
	ModeOLM Mode = "olm"
)

func modes() []Mode { return []Mode{ModeSelf, ModeCertManager, ModeOLM} }

// DefaultDirectory is where OLM mounts a webhook's certificate, and where
// controller-runtime looks for it by default.
const DefaultDirectory = "/tmp/k8s-webhook-server/serving-certs"

// Names of the files in the directory.
const (
	certificateFile = "tls.crt"
	keyFile         = "tls.key"
)

// Options configures New. The first part is bound to flags by BindFlags; the
// second is the operator's own and set in its composition root.
type Options struct {
	// Mode says where the certificate comes from.
	Mode Mode
	// Directory holds tls.crt and tls.key in the modes that read files.
	Directory string
	// RenewBefore renews a certificate when less than this is left. In mode self
	// it is for the authority; see pki.Due. The other modes are renewed by others.
	RenewBefore time.Duration

	// Name is the operator's: a DNS label. Required.
	Name string
	// Namespace is the operator's own. Required.
	Namespace string
	// Replica is this replica's pod name. No two replicas that live may have the
	// same. Required in mode self.
	Replica string
	// Service is the one in Namespace through which API servers call. A webhook of
	// a named configuration that calls somebody else is left alone.
	Service string
	// Hosts are names or addresses by which API servers call instead, where a
	// configuration has a URL. Service or Hosts is required.
	Hosts []string
	// Validating, Mutating and Conversions name the ValidatingWebhookConfigurations,
	// MutatingWebhookConfigurations and CustomResourceDefinitions that call this
	// operator. Mode self needs one at least. In the other modes they are only
	// watched, to know whether the certificate is trusted; OLM makes names up for
	// webhook configurations, so that only Conversions can be given there.
	Validating, Mutating, Conversions []string
	// Replicas lists the operator's pods that exist, see PodNames. What others have
	// published is removed once they are gone. Required in mode self: without it
	// the bundles would only grow.
	Replicas func(ctx context.Context) ([]string, error)
	// Logger tells of each change and each failure.
	Logger logr.Logger

	// times is replaced in tests.
	times times
}

// times is when and how often something is done.
type times struct {
	// now reads both clocks.
	now    func() pki.Moment
	policy pki.Policy
	// look is the longest time between two decisions, list the one between two
	// lists of the replicas.
	look, list time.Duration
	// retry is the wait after a first failure; it doubles up to look.
	retry time.Duration
}

func defaultTimes(renewBefore time.Duration) times {
	start := time.Now()
	policy := pki.DefaultPolicy()
	policy.RenewBefore = renewBefore
	return times{
		now: func() pki.Moment {
			now := time.Now()
			// Without its monotonic reading the date is what others see; Sub uses it.
			return pki.Moment{Wall: now.Round(0), Uptime: now.Sub(start)}
		},
		policy: policy,
		look:   10 * time.Second,
		list:   5 * time.Minute,
		retry:  time.Second,
	}
}

// BindFlags binds the first part of the options to flags and sets the defaults.
func BindFlags(fs *flag.FlagSet, o *Options) {
	o.Mode = ModeSelf
	fs.Func("webhook-certificates", "where the certificate of the webhooks comes from: self, cert-manager or olm (default self)", func(value string) error {
		if !slices.Contains(modes(), Mode(value)) {
			return fmt.Errorf("it is one of self, cert-manager and olm, not %q", value)
		}
		o.Mode = Mode(value)
		return nil
	})
	fs.StringVar(&o.Directory, "webhook-certificates-directory", DefaultDirectory, "`folder` with tls.crt and tls.key, for cert-manager and olm")
	fs.DurationVar(&o.RenewBefore, "webhook-certificates-renew-before", pki.DefaultRenewBefore, "with self, renew an authority when less than this is left of its 30 days, if two thirds of them have not passed before")
}

// Validate says what is wrong with the options.
func (o *Options) Validate() error {
	var problems []error
	add := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !slices.Contains(modes(), o.Mode) {
		add("the mode %q is none of self, cert-manager and olm", o.Mode)
	}
	for what, value := range map[string]string{"name": o.Name, "namespace": o.Namespace} {
		if wrong := validation.IsDNS1123Label(value); len(wrong) > 0 {
			add("the %s %q: %s", what, value, wrong[0])
		}
	}
	if o.Service == "" && len(o.Hosts) == 0 {
		add("neither a service nor a host says how API servers call the webhooks")
	}
	if o.Mode == ModeSelf {
		if o.Replica == "" {
			add("the replica's name is missing: set it from the pod's metadata.name")
		}
		if o.Replicas == nil {
			add("the replicas cannot be listed: set Replicas")
		}
		if len(o.Validating)+len(o.Mutating)+len(o.Conversions) == 0 {
			add("there is no webhook configuration to publish the authority in")
		}
		policy := pki.DefaultPolicy()
		policy.RenewBefore = o.RenewBefore
		if err := policy.Validate(); err != nil {
			problems = append(problems, err)
		}
	} else if !filepath.IsAbs(o.Directory) {
		add("the directory %q of the certificate is not an absolute path", o.Directory)
	}
	if o.Mode == ModeOLM && len(o.Validating)+len(o.Mutating) > 0 {
		add("OLM makes up the names of webhook configurations; name only conversions")
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("webhook certificates: %w", err)
	}
	return nil
}

// group names the program whose replicas share the bundles.
func (o *Options) group() string { return o.Namespace + "/" + o.Name }

// fieldOwner owns the bundles; all replicas are the same one, because a bundle
// is a single field.
func (o *Options) fieldOwner() string { return o.Name + "-webhook-certificates" }

// serviceHost is the name that API servers ask for when they call a Service.
func serviceHost(name, namespace string) string { return name + "." + namespace + ".svc" }

// names are what a certificate must be good for.
func (o *Options) names() (dns []string, ips []net.IP) {
	if o.Service != "" {
		dns = append(dns, serviceHost(o.Service, o.Namespace))
	}
	for _, host := range o.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			ips = append(ips, ip)
		} else {
			dns = append(dns, strings.ToLower(host))
		}
	}
	return dns, ips
}
