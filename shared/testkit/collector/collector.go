// Package collector is an OpenTelemetry collector for tests: it receives spans over OTLP, as a real one does, and shows them.
package collector

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// Collector receives spans until the test ends.
type Collector struct {
	collectortrace.UnimplementedTraceServiceServer
	// Address is its host:port.
	Address string

	mu      sync.Mutex
	spans   []Span
	headers []metadata.MD
}

// Span is a received span.
type Span struct {
	*tracev1.Span
	// Attributes are the span's own, Resource those of the process, as text.
	Attributes, Resource map[string]string
}

// Start starts a collector on a port of its own. The options say whether it speaks TLS.
func Start(tb testing.TB, options ...grpc.ServerOption) *Collector {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("listen for spans: %v", err)
	}
	c := &Collector{Address: listener.Addr().String()}
	server := grpc.NewServer(options...)
	collectortrace.RegisterTraceServiceServer(server, c)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	tb.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			tb.Errorf("the collector: %v", err)
		}
	})
	return c
}

// Export implements the trace service of OTLP.
func (c *Collector) Export(ctx context.Context, req *collectortrace.ExportTraceServiceRequest) (*collectortrace.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		c.headers = append(c.headers, md)
	}
	for _, r := range req.ResourceSpans {
		about := text(r.Resource.GetAttributes())
		for _, s := range r.ScopeSpans {
			for _, span := range s.Spans {
				c.spans = append(c.spans, Span{Span: span, Attributes: text(span.Attributes), Resource: about})
			}
		}
	}
	return &collectortrace.ExportTraceServiceResponse{}, nil
}

// Spans returns what has arrived, in the order in which the spans began.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := slices.Clone(c.spans)
	slices.SortStableFunc(out, func(a, b Span) int {
		switch {
		case a.StartTimeUnixNano < b.StartTimeUnixNano:
			return -1
		case a.StartTimeUnixNano > b.StartTimeUnixNano:
			return 1
		}
		return 0
	})
	return out
}

// Headers returns the headers of the requests so far.
func (c *Collector) Headers() []metadata.MD {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.headers)
}

// Trees writes every trace that has arrived as an indented tree of the names of its spans, one string per trace.
func (c *Collector) Trees() []string {
	spans := c.Spans()
	children := map[string][]Span{}
	known := map[string]bool{}
	for _, s := range spans {
		known[string(s.SpanId)] = true
	}
	var roots []Span
	for _, s := range spans {
		if known[string(s.ParentSpanId)] {
			children[string(s.ParentSpanId)] = append(children[string(s.ParentSpanId)], s)
		} else {
			roots = append(roots, s)
		}
	}
	var out []string
	for _, root := range roots {
		var b strings.Builder
		var write func(Span, int)
		write = func(s Span, depth int) {
			b.WriteString(strings.Repeat("  ", depth) + s.Name + "\n")
			for _, child := range children[string(s.SpanId)] {
				write(child, depth+1)
			}
		}
		write(root, 0)
		out = append(out, b.String())
	}
	return out
}

// Await fails the test unless what is asked for arrives in time.
func (c *Collector) Await(tb testing.TB, what string, there func([]Span) bool) {
	tb.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !there(c.Spans()) {
		if time.Now().After(deadline) {
			tb.Fatalf("no %s among the spans:\n%s", what, strings.Join(c.Trees(), "\n"))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func text(attributes []*commonv1.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range attributes {
		switch v := a.Value.GetValue().(type) {
		case *commonv1.AnyValue_StringValue:
			out[a.Key] = v.StringValue
		default:
			out[a.Key] = a.Value.String()
		}
	}
	return out
}
