package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"

	"go.opentelemetry.io/otel/trace"
)

// TestLinesHaveTheKeysOfTheOperators: a search for a cluster, a pod or a trace finds the lines of both.
func TestLinesHaveTheKeysOfTheOperators(t *testing.T) {
	c, err := parse([]string{
		"--instance=db-0", "--cluster=db", "--namespace=shop", "--pod-uid=uid-0", "--operator=op:9443", "--operator-ca=/ca", "--token=/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	var written bytes.Buffer
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{15: 1}, SpanID: trace.SpanID{7: 1}})
	log := slog.New(logHandler(&written, c.identity))
	log.Debug("not asked for")
	log.InfoContext(trace.ContextWithRemoteSpanContext(t.Context(), span), "Step", "step", "start")
	var got map[string]any
	if err := json.Unmarshal(written.Bytes(), &got); err != nil {
		t.Fatalf("%s: %v", written.String(), err)
	}
	for key, want := range map[string]string{
		"msg": "Step", "step": "start", "kind": "MySQLCluster", "namespace": "shop", "name": "db", "instance": "db-0", "pod": "db-0",
		"pod_uid": "uid-0", "trace_id": span.TraceID().String(), "span_id": span.SpanID().String(),
	} {
		if got[key] != want {
			t.Errorf("%s is %v, want %q", key, got[key], want)
		}
	}
}

// TestTheRestoreIsReadFromAFlag: as JSON, and none is none.
func TestTheRestoreIsReadFromAFlag(t *testing.T) {
	parsed := func(restore string) (config, error) {
		return parse([]string{"--instance=db-0", "--operator=op:9443", "--operator-ca=/ca", "--token=/token", "--restore=" + restore})
	}
	c, err := parsed(`{"store": {"volume": true}, "cluster": "u-1", "before": "3e11fa47-71ca-11e1-9e33-c80aa9429562:7"}`)
	if err != nil {
		t.Fatal(err)
	}
	duty, where := c.options.Restore.Duty, c.options.Restore
	if duty == nil || !duty.Store.Volume || duty.Cluster != "u-1" || duty.Before == "" {
		t.Errorf("read %+v", duty)
	}
	if where.Credentials != "/etc/kapok/restore" || where.Volume != "/restore" || where.Identity != "/etc/kapok/restore-identity" {
		t.Errorf("it looks in %+v", where)
	}
	if c, err := parsed(""); err != nil || c.options.Restore.Duty != nil {
		t.Errorf("nothing is %+v, %v", c.options.Restore.Duty, err)
	}
	if _, err := parsed("newest"); err == nil {
		t.Error("what is no JSON is taken")
	}
}
