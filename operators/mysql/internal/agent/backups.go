package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/full"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/protect"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/sandbox"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/target"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/shared/objectstore"
)

// newKeeper returns what does the backups of the instance. Its copies are beside the data folder, where a replacement of the data does not see them.
func (a *Agent) newKeeper() *protect.Keeper {
	return protect.New(protect.Options{
		Instance: a.opts.Instance, DataDir: a.paths.data, CopyDir: filepath.Join(a.paths.root, "backup"),
		Tools: full.Tools{
			Mysqld: a.opts.Mysqld, RunDir: filepath.Join(filepath.Dir(a.paths.socket), "backup"), Supervisor: a.supervisor,
		},
		Open: func(s instance.Store) (objectstore.Store, func() error, error) {
			return target.Open(s, a.opts.BackupCredentials, a.opts.BackupVolume)
		},
		Sandbox: a.sandbox, Changed: a.poke, Logger: a.log,
	})
}

// sandbox makes a place for a private server that runs beside the instance's own.
func (a *Agent) sandbox() (sandbox.Options, func() error, error) {
	executable, err := a.executable()
	if err != nil {
		return sandbox.Options{}, nil, err
	}
	run := filepath.Join(filepath.Dir(a.paths.socket), "prove")
	// What an agent that was killed has left there is of no use.
	if err := errors.Join(os.RemoveAll(run), os.MkdirAll(run, 0o700)); err != nil {
		return sandbox.Options{}, nil, fmt.Errorf("make a folder for a private server: %w", err)
	}
	return sandbox.Options{Mysqld: executable, RunDir: run, Supervisor: a.supervisor}, func() error { return os.RemoveAll(run) }, nil
}

// tellKeeper tells the keeper how things are. The loop does so before it begins any work: when an instance is no primary any more, nothing is archived
// that it executes from the next step on. What work under way does to the memory is told when it is done; the end of mysqld is told at once.
func (a *Agent) tellKeeper() {
	if a.working == nil {
		a.situation = a.memory.situation()
	}
	s := a.situation
	if r := a.current.Load(); r != nil && r.answered.Load() && !r.dying.Load() && !a.reporter.gone {
		s.Server = r.client
	}
	a.keeper.Tell(s)
}

// situation is what the keeper needs to know of the memory.
func (m *memory) situation() protect.Situation {
	d := m.directive
	if d == nil {
		return protect.Situation{Replacing: m.clone.busy}
	}
	return protect.Situation{
		Told: true, Duty: d.Backup, Epoch: d.Epoch, Replacing: m.clone.busy || d.Role == instance.RoleClone,
		// That every directive is converged upon anew does not end its service.
		Serving: d.Role == instance.RolePrimary && d.Primary != nil && d.Primary.Serve && m.role == d.Role && m.roleEpoch == d.Epoch,
	}
}
