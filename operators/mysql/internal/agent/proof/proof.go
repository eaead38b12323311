// Package proof finds out on a private server whether a copy of data is good: it takes the checksums of all tables, compares them with those that were
// taken before, and has the server check each table.
//
// What cannot be told from a fault of the machine, such as a server that somebody has killed or that does not come up, is a plain error. A WrongError
// says that the data themselves are wrong.
package proof

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/sandbox"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
)

const (
	// named is how many tables an error names.
	named = 3
	// lastWords is how long a server whose connection broke may take to end: it writes down what has happened first.
	lastWords = 10 * time.Second
)

// WrongError says that data are not what was backed up.
type WrongError struct {
	// Tables says of each table what is wrong with it; Of is how many were looked at.
	Tables []string
	Of     int
}

// Error implements error.
func (e *WrongError) Error() string { return words("are not what was backed up", e.Tables, e.Of) }

// words say what is the matter with how many tables, and name some of them.
func words(what string, tables []string, of int) string {
	text := fmt.Sprintf("%d of %d tables %s: %s", len(tables), of, what, strings.Join(tables[:min(named, len(tables))], "; "))
	if more := len(tables) - named; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

// Progress is told how many tables are looked at.
type Progress func(done, of int)

// Take starts a server on data, and returns the checksums of all tables that are not the server's own, and what the data hold. The server is shut down
// properly, and the data are then as good as before. A table that cannot be read is an error.
func Take(ctx context.Context, o sandbox.Options) (tables []backup.Table, holds gtid.Set, err error) {
	err = with(ctx, o, func(s *sandbox.Server) error {
		text, err := s.Client().Executed(ctx)
		if err != nil {
			return err
		}
		if holds, err = gtid.Parse(text); err != nil {
			return fmt.Errorf("read what the data hold: %w", err)
		}
		names, err := s.Client().Tables(ctx)
		if err != nil {
			return err
		}
		found, err := each(ctx, s, names, func(int, int) {}, func(t mysqld.TableName) (string, error) {
			sum, problem, err := s.Client().ChecksumTable(ctx, t)
			tables = append(tables, backup.Table{Schema: t.Schema, Name: t.Name, Checksum: sum})
			return problem, err
		})
		if len(found) > 0 {
			err = errors.Join(errors.New(words("cannot be read", found, len(names))), err)
		}
		return err
	})
	if err != nil {
		return nil, gtid.Set{}, err
	}
	return tables, holds, nil
}

// Compare starts a server on data that nothing was done to since they were unpacked, and compares the checksums of their tables with those in the
// manifest. It returns how many are the same: all, or there is a WrongError. Servers of two versions may compute different checksums of the same
// rows, as they may store them differently: nothing is compared then, nor if the manifest has no checksums.
func Compare(ctx context.Context, o sandbox.Options, m backup.Full, tell Progress) (compared int, err error) {
	if len(m.Tables) == 0 {
		return 0, nil
	}
	err = with(ctx, o, func(s *sandbox.Server) error {
		if version, err := s.Client().Version(ctx); err != nil || version != m.Version {
			return err
		}
		there, err := s.Client().Tables(ctx)
		if err != nil {
			return err
		}
		want, names, found := expected(m.Tables, there)
		differing, err := each(ctx, s, names, tell, func(t mysqld.TableName) (string, error) {
			sum, problem, err := s.Client().ChecksumTable(ctx, t)
			if err == nil && problem == "" && sum != want[t] {
				problem = fmt.Sprintf("its checksum is %d, and that of the manifest %d", sum, want[t])
			}
			return problem, err
		})
		compared = len(names) - len(differing)
		return errors.Join(wrong(append(found, differing...), len(m.Tables)), err)
	})
	return compared, err
}

// expected sorts what is there by whether the manifest names it. found says what is missing, and what should not be there.
func expected(tables []backup.Table, there []mysqld.TableName) (want map[mysqld.TableName]uint64, both []mysqld.TableName, found []string) {
	want = map[mysqld.TableName]uint64{}
	for _, t := range tables {
		want[mysqld.TableName{Schema: t.Schema, Name: t.Name}] = t.Checksum
	}
	missing := map[mysqld.TableName]bool{}
	for t := range want {
		missing[t] = true
	}
	for _, t := range there {
		if _, named := want[t]; named {
			both = append(both, t)
			delete(missing, t)
		} else {
			found = append(found, fmt.Sprintf("%s: the manifest does not know it", t))
		}
	}
	for t := range missing {
		found = append(found, fmt.Sprintf("%s: it is missing", t))
	}
	slices.Sort(found)
	return want, both, found
}

// Check starts a server on data and has it check each table that is not its own, with CHECK TABLE: that all of its pages can be read, that its indexes are
// in order, and that each has an entry for every row. It returns how many are sound: all whose engine can tell, or there is a WrongError.
func Check(ctx context.Context, o sandbox.Options, tell Progress) (sound int, err error) {
	err = with(ctx, o, func(s *sandbox.Server) error {
		names, err := s.Client().Tables(ctx)
		if err != nil {
			return err
		}
		found, err := each(ctx, s, names, tell, func(t mysqld.TableName) (string, error) {
			good, problem, err := s.Client().CheckTable(ctx, t)
			if good {
				sound++
			}
			return problem, err
		})
		return errors.Join(wrong(found, len(names)), err)
	})
	return sound, err
}

// with does something with a server. The data are whole only if there is no error.
func with(ctx context.Context, o sandbox.Options, do func(*sandbox.Server) error) error {
	s, err := sandbox.Start(ctx, o)
	if err != nil {
		return err
	}
	if err := do(s); err != nil {
		return errors.Join(err, s.Kill())
	}
	return s.Stop(ctx)
}

// each looks at tables one after the other, and returns what is wrong with them.
func each(
	ctx context.Context, s *sandbox.Server, tables []mysqld.TableName, tell Progress, look func(mysqld.TableName) (problem string, err error),
) (found []string, err error) {
	tell(0, len(tables))
	for n, t := range tables {
		problem, err := look(t)
		if err != nil {
			ended, err := end(ctx, s, t, err)
			return append(found, ended...), err
		}
		if problem != "" {
			found = append(found, fmt.Sprintf("%s: %s", t, problem))
		}
		tell(n+1, len(tables))
	}
	return found, nil
}

// end says what it means that the server does not answer any more. One that ends itself over a table, which it does where it would have to go on with
// data that cannot be, says that the table is wrong. One that was killed says nothing: it may have been the kernel, for want of memory.
func end(ctx context.Context, s *sandbox.Server, t mysqld.TableName, err error) (found []string, _ error) {
	if ctx.Err() != nil {
		return nil, err
	}
	exit, ended := s.Ended(ctx, lastWords)
	switch {
	case !ended:
		return nil, err
	case exit.Signal == syscall.SIGKILL, exit.Signal == syscall.SIGTERM:
		return nil, fmt.Errorf("the private server was %s while it read table %s: %w", exit, t, err)
	}
	return []string{fmt.Sprintf("%s: the server %s over it: %s", t, exit, cmp.Or(s.Problem(), "it does not say why"))}, nil
}

// wrong returns the error of what is wrong, if anything is.
func wrong(found []string, of int) error {
	if len(found) == 0 {
		return nil
	}
	return &WrongError{Tables: found, Of: of}
}
