package otlp

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/kapok-operators/kapok/shared/observability/jsonlog"
	"github.com/kapok-operators/kapok/shared/testkit/collector"
)

func parse(t *testing.T, args ...string) (Config, error) {
	t.Helper()
	var c Config
	fs := flag.NewFlagSet("test", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	BindFlags(fs, &c)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return c, c.Validate()
}

func TestFlags(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		// refused is a part of the message; empty if the flags are good.
		refused string
	}{
		"none":                        {},
		"plain":                       {args: []string{"-otlp-endpoint=otel:4317", "-otlp-insecure", "-trace-ratio=0.1"}},
		"with TLS and headers":        {args: []string{"-otlp-endpoint=otel:4317", "-otlp-headers-file=/x", "-otlp-ca-file=/y"}},
		"a URL":                       {args: []string{"-otlp-endpoint=https://otel:4317"}, refused: "without a scheme"},
		"no port":                     {args: []string{"-otlp-endpoint=otel"}, refused: "host:port"},
		"headers in the clear":        {args: []string{"-otlp-endpoint=otel:4317", "-otlp-insecure", "-otlp-headers-file=/x"}, refused: "needs TLS"},
		"a CA for nothing":            {args: []string{"-otlp-endpoint=otel:4317", "-otlp-insecure", "-otlp-ca-file=/x"}, refused: "of no use"},
		"settings without a receiver": {args: []string{"-otlp-headers-file=/x"}, refused: "--otlp-endpoint"},
		"more than all":               {args: []string{"-otlp-endpoint=otel:4317", "-trace-ratio=1.5"}, refused: "--trace-ratio"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, tc.args...)
			if (err != nil) != (tc.refused != "") || err != nil && !strings.Contains(err.Error(), tc.refused) {
				t.Errorf("got %v, want %q", err, tc.refused)
			}
		})
	}
}

func TestNoEndpointNoExporter(t *testing.T) {
	e, err := New(t.Context(), Config{}, Process{}, nil, logr.Discard())
	if err != nil || e != nil || e.Provider() != nil || e.Flush(t.Context()) != nil {
		t.Errorf("got %v, %v", e, err)
	}
}

// certificate makes a self-signed one and the file of what trusts it.
func certificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestSpansReachACollector sends over TLS, with headers from a file that is rotated meanwhile.
func TestSpansReachACollector(t *testing.T) {
	cert, ca := certificate(t)
	c := collector.Start(t, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	file := write(t, "headers", "# of the tenant\nAuthorization: Bearer first\n\nx-scope-orgid: shop\n")
	registry := prometheus.NewRegistry()
	config, err := parse(t, "-otlp-endpoint="+c.Address, "-otlp-ca-file="+ca, "-otlp-headers-file="+file)
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(t.Context(), config, Process{Service: "test-operator", Version: "v1",
		Pod: jsonlog.Pod{Namespace: "ops", Name: "op-0", UID: "uid-0"}}, registry, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	tracer := e.Provider().Tracer("test")
	send := func(name string) {
		ctx, span := tracer.Start(t.Context(), name)
		_, inner := tracer.Start(ctx, "inner")
		inner.End()
		span.End()
		if err := e.provider.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	send("one")
	if err := os.WriteFile(file, []byte("authorization: Bearer second\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	send("two")
	if err := e.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Trees(), ""); got != "one\n  inner\ntwo\n  inner\n" {
		t.Errorf("got\n%s", got)
	}
	got := c.Headers()
	if len(got) != 2 || got[0].Get("authorization")[0] != "Bearer first" || got[0].Get("x-scope-orgid")[0] != "shop" ||
		got[1].Get("authorization")[0] != "Bearer second" {
		t.Errorf("headers %v", got)
	}
	about := c.Spans()[0].Resource
	for key, want := range map[string]string{
		"k8s.pod.uid": "uid-0", "k8s.pod.name": "op-0", "k8s.namespace.name": "ops", "service.name": "test-operator",
		"service.version": "v1", "service.instance.id": "uid-0",
	} {
		if about[key] != want {
			t.Errorf("the resource's %s is %q, want %q", key, about[key], want)
		}
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP kapok_telemetry_spans_total Spans that the collector took (sent) and that were lost because it did not (lost).
# TYPE kapok_telemetry_spans_total counter
kapok_telemetry_spans_total{result="lost"} 0
kapok_telemetry_spans_total{result="sent"} 4
`)); err != nil {
		t.Error(err)
	}
}

func TestNothingIsSentToWhomIsNotTrusted(t *testing.T) {
	cert, _ := certificate(t)
	_, other := certificate(t)
	c := collector.Start(t, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	var lines bytes.Buffer
	log := logr.FromSlogHandler(jsonlog.New(&lines, slog.LevelInfo, jsonlog.Pod{}))
	registry := prometheus.NewRegistry()
	config, err := parse(t, "-otlp-endpoint="+c.Address, "-otlp-ca-file="+other, "-otlp-headers-file="+write(t, "headers", "authorization: secret-token"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(t.Context(), config, Process{Service: "test"}, registry, log)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, span := e.Provider().Tracer("test").Start(t.Context(), "x")
		span.End()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		// It gives up when it is told to; what came of it is counted.
		_ = e.provider.ForceFlush(ctx)
		cancel()
	}
	if got := c.Spans(); len(got) != 0 {
		t.Errorf("%d spans were sent", len(got))
	}
	if n := strings.Count(lines.String(), "do not reach the collector"); n != 1 {
		t.Errorf("the loss was told %d times, want once:\n%s", n, lines.String())
	}
	if strings.Contains(lines.String(), "secret-token") {
		t.Error("a header is in the log")
	}
	counts, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range counts[0].Metric {
		if m.Label[0].GetValue() == "lost" && m.Counter.GetValue() != 2 {
			t.Errorf("%v spans were counted as lost, want 2", m.Counter.GetValue())
		}
	}
}

func TestRatio(t *testing.T) {
	c := collector.Start(t)
	e, err := New(t.Context(), Config{Endpoint: c.Address, Insecure: true, Ratio: 0}, Process{Service: "test"}, nil, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	_, span := e.Provider().Tracer("test").Start(t.Context(), "x")
	span.End()
	if err := e.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if span.SpanContext().IsSampled() || len(c.Spans()) != 0 {
		t.Error("a span was recorded at the ratio 0")
	}
}

func TestFilesThatAreNoGood(t *testing.T) {
	for name, tc := range map[string]struct{ c Config }{
		"no CA file":          {Config{CAFile: "/nonexistent"}},
		"no certificate":      {Config{CAFile: write(t, "ca", "nothing")}},
		"no headers file":     {Config{HeadersFile: "/nonexistent"}},
		"no header in a line": {Config{HeadersFile: write(t, "headers", "authorization secret-token")}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.c.Endpoint = "localhost:4317"
			_, err := New(t.Context(), tc.c, Process{}, nil, logr.Discard())
			if err == nil || strings.Contains(err.Error(), "secret-token") {
				t.Errorf("got %v", err)
			}
		})
	}
}
