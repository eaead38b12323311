package full

import (
	"context"
	"fmt"
	"strings"

	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
)

const (
	// MethodClone is the method of a backup that CLONE made.
	MethodClone = "clone"
	// MethodXtraBackup is the method of a backup that Percona XtraBackup made.
	MethodXtraBackup = "xtrabackup"
)

// namedTables is how many tables an error names.
const namedTables = 5

// UncopiedError says that there are tables whose rows CLONE does not copy: it makes them, and leaves them empty.
type UncopiedError struct {
	// Tables are their names; there may be more than these.
	Tables []string
}

// Error implements error.
func (e *UncopiedError) Error() string {
	names := strings.Join(e.Tables[:min(len(e.Tables), namedTables)], ", ")
	if len(e.Tables) > namedTables {
		names += " and others"
	}
	return fmt.Sprintf("CLONE copies the rows of InnoDB tables alone, and these have another engine: %s: convert them (ALTER TABLE ... ENGINE=InnoDB), "+
		"or set spec.backup.method: xtrabackup", names)
}

// ready refuses a backup that cannot succeed, before anything is copied.
func (o Options) ready(ctx context.Context) error {
	switch o.Method {
	case MethodXtraBackup:
		_, err := o.Tools.find(programBackup)
		return err
	case MethodClone:
		if err := o.copied(ctx); err != nil {
			return err
		}
		return o.room()
	default:
		return fmt.Errorf("this version of the agent knows no method %q of taking full backups: use %s or %s", o.Method, MethodClone, MethodXtraBackup)
	}
}

// read reads the data: as a copy on the volume, or as a stream that is stored as it comes.
func (o Options) read(ctx context.Context, m *backup.Full) error {
	if o.Method == MethodXtraBackup {
		return o.stream(ctx, m)
	}
	if err := o.Server.CopyTo(ctx, o.CopyDir); err != nil {
		return err
	}
	// One may have been made meanwhile.
	return o.copied(ctx)
}

// copied refuses a copy that lacks something.
func (o Options) copied(ctx context.Context) error {
	tables, err := o.Server.Uncopied(ctx)
	if err != nil {
		return err
	}
	if len(tables) > 0 {
		return &UncopiedError{Tables: tables}
	}
	return nil
}
