package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kapok-operators/kapok/hack/localcluster/provider"
	"github.com/kapok-operators/kapok/operators/mysql/internal/permission"
	"github.com/kapok-operators/kapok/shared/rbac"
	"github.com/kapok-operators/kapok/shared/rbac/audit"
)

// Audit compares what the operator's installation grants with what the operator has asked of the API server since a time.
// It returns nil where the cluster gives nobody its audit log.
func (l *Lab) Audit(ctx context.Context, since time.Time) (*audit.Report, error) {
	source, ok := l.provider.(provider.AuditLog)
	if !ok {
		return nil, nil
	}
	manifest, err := os.ReadFile(l.OperatorManifest)
	if err != nil {
		return nil, fmt.Errorf("read the operator's installation: %w", err)
	}
	objects, err := rbac.Parse(manifest)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", l.OperatorManifest, err)
	}
	account := types.NamespacedName{Namespace: OperatorNamespace, Name: OperatorName}
	grants, err := objects.Grants(account)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", l.OperatorManifest, err)
	}
	paths, err := source.AuditLogs(ctx)
	if err != nil {
		return nil, err
	}
	var parts []io.Reader
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("read the audit log: %w", err)
		}
		defer func() { _ = file.Close() }()
		parts = append(parts, file)
	}
	return audit.Check(audit.Options{Account: account, Grants: grants, Rare: permission.Rare(permission.E2E, grants), Since: since}, parts...)
}
