// Package otlp sends the spans of an operator to an OpenTelemetry collector.
package otlp

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/kapok-operators/kapok/shared/observability/jsonlog"
)

// Config says where spans go. The zero Config sends none and costs nothing.
type Config struct {
	// Endpoint is the host:port of an OTLP gRPC receiver; empty sends nothing.
	Endpoint string
	// Insecure speaks to it without TLS.
	Insecure bool
	// CAFile holds the PEM certificates that the receiver's is checked against; empty means the system's.
	CAFile string
	// HeadersFile holds headers for the receiver, one "name: value" a line, such as an authorization. It is read again
	// before each request, so that a rotated token needs no restart. It needs TLS.
	HeadersFile string
	// Ratio is the part of all rounds that is traced, 0 to 1.
	Ratio float64
}

// BindFlags binds the configuration to flags and sets the defaults. OpenTelemetry's environment variables fill what no
// flag says (OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_*); those that would say where spans go have flags here.
func BindFlags(fs *flag.FlagSet, c *Config) {
	fs.StringVar(&c.Endpoint, "otlp-endpoint", "", "`host:port` of an OpenTelemetry collector (OTLP over gRPC) that traces go to; empty makes none")
	fs.BoolVar(&c.Insecure, "otlp-insecure", false, "speak to the collector without TLS")
	fs.StringVar(&c.CAFile, "otlp-ca-file", "", "`file` with the certificates that the collector's is checked against; empty means the system's")
	fs.StringVar(&c.HeadersFile, "otlp-headers-file", "", "`file` with headers for the collector, one \"name: value\" a line; it needs TLS")
	fs.Float64Var(&c.Ratio, "trace-ratio", 1, "part of all reconciles that is traced, 0 to 1")
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	var problems []error
	if c.Endpoint == "" {
		if c.Insecure || c.CAFile != "" || c.HeadersFile != "" {
			problems = append(problems, errors.New("settings for a collector need --otlp-endpoint"))
		}
	} else if _, _, err := net.SplitHostPort(c.Endpoint); err != nil {
		problems = append(problems, fmt.Errorf("--otlp-endpoint is host:port, without a scheme: %w", err))
	}
	if c.Insecure && c.HeadersFile != "" {
		problems = append(problems, errors.New("--otlp-headers-file needs TLS: without it everybody on the way could read the headers; drop --otlp-insecure"))
	}
	if c.Insecure && c.CAFile != "" {
		problems = append(problems, errors.New("--otlp-ca-file is of no use with --otlp-insecure; drop one of them"))
	}
	if c.Ratio < 0 || c.Ratio > 1 {
		problems = append(problems, fmt.Errorf("--trace-ratio is %v, which is not within 0 and 1", c.Ratio))
	}
	return errors.Join(problems...)
}

// Process is who sends.
type Process struct {
	// Service and Version name the program.
	Service, Version string
	// Pod is where it runs.
	Pod jsonlog.Pod
}

// attributes are those of the resource, by the names that OpenTelemetry and its k8sattributes processor use.
func (p Process) attributes() []attribute.KeyValue {
	var out []attribute.KeyValue
	for key, value := range map[attribute.Key]string{
		"service.name": p.Service, "service.version": p.Version, "service.instance.id": p.Pod.UID,
		"k8s.pod.uid": p.Pod.UID, "k8s.pod.name": p.Pod.Name, "k8s.namespace.name": p.Pod.Namespace,
	} {
		if value != "" {
			out = append(out, key.String(value))
		}
	}
	return out
}

// Exporter sends spans in the background. The nil Exporter has none to send.
type Exporter struct {
	provider *sdktrace.TracerProvider
}

// New starts an exporter; it returns nil if the configuration has no endpoint. Nothing waits for the collector: spans that
// it does not take in time are dropped, and the metric kapok_telemetry_spans_total says so.
func New(ctx context.Context, c Config, p Process, metrics prometheus.Registerer, log logr.Logger) (*Exporter, error) {
	if c.Endpoint == "" {
		return nil, nil
	}
	options := []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(c.Endpoint)}
	switch {
	case c.Insecure:
		options = append(options, otlptracegrpc.WithInsecure())
	default:
		trusted, err := pool(c.CAFile)
		if err != nil {
			return nil, err
		}
		options = append(options, otlptracegrpc.WithTLSCredentials(credentials.NewClientTLSFromCert(trusted, "")))
	}
	if c.HeadersFile != "" {
		if _, err := readHeaders(c.HeadersFile); err != nil {
			return nil, err
		}
		options = append(options, otlptracegrpc.WithDialOption(grpc.WithPerRPCCredentials(headers{file: c.HeadersFile})))
	}
	inner, err := otlptracegrpc.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("make the exporter of traces to %s: %w", c.Endpoint, err)
	}
	counted := &counted{inner: inner, log: log, endpoint: c.Endpoint, total: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kapok_telemetry_spans_total", Help: "Spans that the collector took (sent) and that were lost because it did not (lost)."}, []string{"result"})}
	counted.total.WithLabelValues("sent")
	counted.total.WithLabelValues("lost")
	if metrics != nil {
		if err := metrics.Register(counted.total); err != nil {
			return nil, fmt.Errorf("register the metrics of the exporter: %w", err)
		}
	}
	about, err := resource.Merge(resource.Environment(), resource.NewSchemaless(p.attributes()...))
	if err != nil {
		return nil, fmt.Errorf("describe this process for traces: %w", err)
	}
	return &Exporter{provider: sdktrace.NewTracerProvider(
		sdktrace.WithResource(about),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(c.Ratio))),
		sdktrace.WithBatcher(counted),
	)}, nil
}

// Provider is what spans are made with; nil if there is no exporter.
func (e *Exporter) Provider() trace.TracerProvider {
	if e == nil {
		return nil
	}
	return e.provider
}

// Flush sends what is left and ends the exporter, until ctx ends at the latest.
func (e *Exporter) Flush(ctx context.Context) error {
	if e == nil {
		return nil
	}
	if err := e.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}

func pool(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read --otlp-ca-file: %w", err)
	}
	out := x509.NewCertPool()
	if !out.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("--otlp-ca-file: %s holds no PEM certificate", file)
	}
	return out, nil
}

// headers adds what is in a file to every request.
type headers struct{ file string }

var _ credentials.PerRPCCredentials = headers{}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (h headers) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return readHeaders(h.file)
}

// RequireTransportSecurity implements credentials.PerRPCCredentials: what is in the file is for the collector alone.
func (h headers) RequireTransportSecurity() bool { return true }

// readHeaders reads "name: value" lines; blank ones and those that begin with # are nobody's. No error quotes a value.
func readHeaders(file string) (map[string]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read --otlp-headers-file: %w", err)
	}
	defer func() { _ = f.Close() }()
	out := map[string]string{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		name, value, ok := strings.Cut(text, ":")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if !ok || name == "" || value == "" {
			return nil, fmt.Errorf("--otlp-headers-file: line %d of %s is not \"name: value\"", n, file)
		}
		out[name] = value
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read --otlp-headers-file: %w", err)
	}
	return out, nil
}

// counted counts what is exported and says once when the collector stops taking spans, and once when it takes them again.
type counted struct {
	inner    sdktrace.SpanExporter
	log      logr.Logger
	endpoint string
	total    *prometheus.CounterVec
	failing  atomic.Bool
}

// ExportSpans implements sdktrace.SpanExporter. What went wrong is told here and returned to nobody: the SDK would write
// it to a logger of its own, as plain text.
func (c *counted) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := c.inner.ExportSpans(ctx, spans); err != nil {
		c.total.WithLabelValues("lost").Add(float64(len(spans)))
		if !c.failing.Swap(true) {
			c.log.Error(err, "Traces do not reach the collector; they are dropped until it answers", "endpoint", c.endpoint)
		}
		return nil
	}
	c.total.WithLabelValues("sent").Add(float64(len(spans)))
	if c.failing.Swap(false) {
		c.log.Info("Traces reach the collector again", "endpoint", c.endpoint)
	}
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (c *counted) Shutdown(ctx context.Context) error { return c.inner.Shutdown(ctx) }

// FlushTimeout is how long an operator that stops waits for the collector. Its lease is given up by then.
const FlushTimeout = 2 * time.Second
