package agent_test

import (
	"strings"
	"testing"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// TestConfigurationThatKeepsMysqldFromStarting: mysqld's own check lets pass what it then does not start with. The instance goes
// back to what it ran with before, says why, and takes the next configuration.
func TestConfigurationThatKeepsMysqldFromStarting(t *testing.T) {
	t.Parallel()
	c := bootstrap(t, 2)
	primary := c.members[0]
	m := other(c, primary)
	d := c.replica(primary, m, true)
	d.Restart = true
	good := d
	good.Config = map[string]string{"max_connections": "77"}
	first := c.tell(m, good)
	m.await("take the first configuration", func(r instance.Report) bool {
		return r.Directive == first && r.ConfigHash == instance.ConfigHash(good.Config, pool)
	})
	// What mysqld has come up with is proven; what it was only given while it ran is not.
	starts := m.report().Starts
	m.kill()
	m.await("start with the first configuration", func(r instance.Report) bool { return r.Starts > starts && r.Converged })
	bad := d
	bad.Config = map[string]string{"max_connections": "77", "innodb_thread_concurrency": "1000"}
	// It is taken while mysqld runs, and shows what it is worth at the next start.
	id := c.tell(m, bad)
	m.await("take the configuration", func(r instance.Report) bool {
		return r.Directive == id && r.ConfigHash == instance.ConfigHash(bad.Config, pool)
	})
	m.kill()
	r := m.await("the report that the configuration is not taken", func(r instance.Report) bool {
		return strings.Contains(r.ConfigError, "does not start") && r.State == instance.StateRunning
	})
	if want := instance.ConfigHash(good.Config, pool); r.ConfigHash != want {
		t.Errorf("it runs with the configuration %s, not with the one before, %s", r.ConfigHash, want)
	}
}
