package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// AuditLog gives the API server's audit log. Only the local cluster offers it, as NodeFaults.
type AuditLog interface {
	// AuditLogs returns the files of the log, JSON lines, the oldest first. The last is still being written.
	AuditLogs(ctx context.Context) ([]string, error)
}

var _ AuditLog = (*Local)(nil)

// AuditLogs implements AuditLog.
func (l *Local) AuditLogs(ctx context.Context) ([]string, error) {
	var out bytes.Buffer
	if err := l.run(ctx, &out, "status", "--name", l.name, "--output", "json"); err != nil {
		return nil, err
	}
	return auditLogs(out.Bytes())
}

// auditLogs finds the log that a status names and what was rotated away from it: audit-<time>.log beside audit.log.
func auditLogs(status []byte) ([]string, error) {
	var parsed struct {
		AuditLog string `json:"auditLog"`
	}
	if err := json.Unmarshal(status, &parsed); err != nil {
		return nil, fmt.Errorf("parse status: %w", err)
	}
	if parsed.AuditLog == "" {
		return nil, errors.New("the cluster's status names no audit log; is it up?")
	}
	base := strings.TrimSuffix(parsed.AuditLog, filepath.Ext(parsed.AuditLog))
	rotated, err := filepath.Glob(base + "-*" + filepath.Ext(parsed.AuditLog))
	if err != nil {
		return nil, fmt.Errorf("look for rotated audit logs: %w", err)
	}
	// Their names hold the time, so that their order is that of time.
	slices.Sort(rotated)
	return append(rotated, parsed.AuditLog), nil
}
