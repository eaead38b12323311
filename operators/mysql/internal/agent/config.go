package agent

import (
	"context"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/errorlog"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mycnf"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/state"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	names "github.com/kapok-operators/kapok/operators/mysql/internal/mycnf"
	"github.com/kapok-operators/kapok/shared/agent"
)

// validatePatience is how long mysqld may take to check a configuration.
const validatePatience = 20 * time.Second

// configMemory is what the agent knows about configurations.
type configMemory struct {
	// run is the configuration of the present run, by its hash; "" without a run.
	run string
	// checking: a configuration is being checked. checked and checkError are the newest result.
	checking   bool
	checked    string
	checkError string
	// waitFrom is when the first start began to wait for a configuration.
	waitFrom time.Time
}

// wantedConfig is the configuration that the directive asks for.
func wantedConfig(d *instance.Directive) state.Config {
	return state.Config{ServerID: d.ServerID, Options: d.Config, BufferPoolBytes: d.BufferPoolBytes}
}

// keepConfig has a new configuration checked and taken over. It is called by the loop between two pieces of work.
func (a *Agent) keepConfig(ctx context.Context) {
	m := &a.memory
	if m.directive == nil {
		return
	}
	want := wantedConfig(m.directive)
	hash := want.Hash()
	if hash == m.state.Config.Hash() || hash == m.config.checked || m.config.checking {
		return
	}
	in := a.configInput()
	in.Options, in.BufferPoolBytes = want.Options, want.BufferPoolBytes
	m.config.checking = true
	a.job(ctx, "config", func(ctx context.Context) func() {
		problem := a.checkConfig(ctx, in)
		return func() {
			a.memory.config.checking = false
			a.memory.config.checked, a.memory.config.checkError = hash, problem
			if problem != "" {
				a.log.Warn("The configuration is not taken", "reason", problem)
			}
		}
	})
}

// checkConfig has mysqld check a configuration, and returns what is wrong with it in mysqld's words.
func (a *Agent) checkConfig(ctx context.Context, in mycnf.Input) string {
	in.InitFile = ""
	config, err := mycnf.Render(in)
	if err != nil {
		return err.Error()
	}
	if err := agent.WriteFileAtomic(a.paths.trial, []byte(config), 0o600); err != nil {
		return err.Error()
	}
	executable, err := exec.LookPath(a.opts.Mysqld)
	if err != nil {
		return "the image has no mysqld"
	}
	var output errorlog.Tail
	process, err := a.supervisor.Start(agent.Spec{
		Path: executable, Args: []string{"--defaults-file=" + a.paths.trial, "--validate-config"}, Dir: a.paths.root, Stderr: &output,
	})
	if err != nil {
		return err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, validatePatience)
	defer cancel()
	exit, err := process.Wait(ctx)
	if err != nil {
		a.ignoreEnd(process.Kill())
		return "mysqld did not finish checking the configuration in " + validatePatience.String()
	}
	if exit.Code == 0 {
		return ""
	}
	if line := output.LastWithin(100 * time.Millisecond); line != "" {
		return line
	}
	return "mysqld refuses the configuration: " + exit.String()
}

// rollbackAfter is how many starts in a row have to fail before their configuration is blamed.
const rollbackAfter = 2

// rollBack goes back to the newest configuration with which mysqld has come up, when it does not come up with another one. The
// other one counts as refused, with mysqld's words. It is part of a start.
func (a *Agent) rollBack() error {
	m := &a.memory
	proven := m.state.Proven
	if a.startFailures < rollbackAfter || proven == nil || proven.Hash() == m.state.Config.Hash() {
		return nil
	}
	refused := m.state.Config.Hash()
	reason := "mysqld does not start with it: " + a.reporter.errors.Earliest()
	if err := a.save(func(st *state.State) {
		st.Config.Options, st.Config.BufferPoolBytes = proven.Options, proven.BufferPoolBytes
	}); err != nil {
		return err
	}
	m.config.checked, m.config.checkError = refused, reason
	a.log.Warn("Going back to the configuration before", "reason", reason)
	return nil
}

// prove takes note that mysqld has come up with the configuration in force.
func (m *memory) prove() {
	if m.state.Proven == nil || m.state.Proven.Hash() != m.state.Config.Hash() {
		proven := m.state.Config
		m.state.Proven, m.unsaved = &proven, true
	}
}

// adoptConfig takes a checked configuration over: first on the volume, then, as far as mysqld allows, while it runs. It
// is part of a turn.
func (a *Agent) adoptConfig(ctx context.Context, c *mysqld.Client, o mysqld.Observation) error {
	m := &a.memory
	if m.directive == nil {
		return nil
	}
	want := wantedConfig(m.directive)
	if want.ServerID != 0 && o.ServerID != want.ServerID {
		if err := c.SetGlobal(ctx, "server_id", strconv.FormatUint(uint64(want.ServerID), 10)); err != nil {
			return err
		}
	}
	if want.ServerID != 0 && m.state.Config.ServerID != want.ServerID {
		if err := a.save(func(st *state.State) { st.Config.ServerID = want.ServerID }); err != nil {
			return err
		}
	}
	hash := want.Hash()
	if hash == m.state.Config.Hash() || hash != m.config.checked || m.config.checkError != "" {
		return nil
	}
	before := m.state.Config
	if err := a.save(func(st *state.State) {
		st.Config.Options, st.Config.BufferPoolBytes = want.Options, want.BufferPoolBytes
	}); err != nil {
		return err
	}
	if applyConfig(ctx, c, before, want) {
		m.config.run = hash
	}
	return nil
}

// applyConfig sets what changed while mysqld runs, and says whether that was all.
func applyConfig(ctx context.Context, c *mysqld.Client, before, want state.Config) bool {
	old, now := effective(before), effective(want)
	whole := true
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if was, ok := old[name]; ok && was == now[name] {
			continue
		}
		if err := c.SetOption(ctx, names.Variable(name), now[name]); err != nil {
			whole = false
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if _, ok := now[name]; ok {
			continue
		}
		if err := c.ResetOption(ctx, names.Variable(name)); err != nil {
			whole = false
		}
	}
	return whole
}

// effective is a configuration as one list.
func effective(config state.Config) map[string]string {
	out := map[string]string{}
	if config.BufferPoolBytes > 0 {
		out["innodb_buffer_pool_size"] = strconv.FormatInt(config.BufferPoolBytes, 10)
	}
	for name, value := range config.Options {
		out[strings.ReplaceAll(strings.ToLower(name), "-", "_")] = value
	}
	return out
}

// restartWanted says whether mysqld is to be restarted for its configuration, and may be.
func (a *Agent) restartWanted(r *run) bool {
	m := &a.memory
	d, o := m.directive, m.observation
	if d == nil || o == nil || !d.Restart || !m.restartNeeded() || m.clone.busy || !m.plan.Converged {
		return false
	}
	switch d.Role {
	case instance.RoleStandby, instance.RoleReplica:
		return !r.tainted.Load()
	case instance.RolePrimary:
		return d.Primary != nil && d.Primary.Acks == 0 && !o.SemiSource
	case instance.RoleDrain, instance.RoleClone:
	}
	return false
}

// restartNeeded says whether the configuration on the volume is not the one that mysqld runs with.
func (m *memory) restartNeeded() bool {
	return m.config.run != "" && m.config.run != m.state.Config.Hash()
}

// restartForConfig returns the work that restarts mysqld. A single primary is afterwards promoted anew, like after any
// other end of mysqld.
func (a *Agent) restartForConfig(r *run) func(context.Context) func() {
	stop := a.stopMysqld(r)
	return func(ctx context.Context) func() {
		a.log.Info("Restarting mysqld for its configuration")
		return stop(ctx)
	}
}
