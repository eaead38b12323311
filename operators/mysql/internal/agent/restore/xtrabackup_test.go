package restore_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/full"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/restore"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/pasts"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/servers"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/standin"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/stores"
	"github.com/kapok-operators/kapok/shared/agent"
)

// TestABackupByXtraBackupIsRestored goes the whole way with a real server and stand-ins for the programs of Percona XtraBackup: the account that they
// are given connects and may do what the real ones do, the stream comes back, and what the data do not say to hold is adopted.
func TestABackupByXtraBackupIsRestored(t *testing.T) {
	program := servers.Program(t, os.Getenv("KAPOK_MYSQLD"))
	data := servers.Blank(t, program)
	// The agent's own account, as it makes it.
	init, err := os.Create(filepath.Join(servers.Folder(t), "init.sql"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(mysqld.InitFile(init, "SECRET", nil, "", false, ""), init.Close()); err != nil {
		t.Fatal(err)
	}
	s := servers.Run(t, program, data, "--init-file="+init.Name())
	s.Do("CREATE DATABASE shop", "CREATE TABLE shop.t (a INT PRIMARY KEY)", "INSERT INTO shop.t VALUES (1), (2)")
	client, err := mysqld.Dial(s.Socket, "SECRET")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	store := stores.Folder(t, t.TempDir())
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", standin.XtraBackup(t, filepath.Dir(program))+":"+os.Getenv("PATH"))
	copied := filepath.Join(filepath.Dir(s.Dir), "copy")
	m, err := full.Take(t.Context(), full.Options{
		Store: store, Cluster: pasts.Cluster, Name: "first", Instance: "shop-0", Server: client, DataDir: s.Dir, CopyDir: copied,
		Recipients: []age.Recipient{key.Recipient()}, PartBytes: 10 << 20, Method: full.MethodXtraBackup,
		Tools: full.Tools{RunDir: filepath.Join(servers.Folder(t), "run"), Supervisor: &agent.Supervisor{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Parts) < 3 || m.Bytes < 20<<20 || m.Method != full.MethodXtraBackup || !strings.Contains(m.Within.String(), standin.Unwritten) {
		t.Errorf("manifest: %+v", m)
	}
	if _, err := os.Lstat(copied); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the copy is left: %v", err)
	}
	o := restore.Options{
		Store: store, Cluster: pasts.Cluster, Identities: []age.Identity{key}, DataDir: filepath.Join(servers.Folder(t), "data"), Mysqld: program,
		RunDir: servers.Folder(t), PoolBytes: 32 << 20, Supervisor: &agent.Supervisor{},
	}
	result, err := restore.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if !result.Executed.Equal(m.Within) || result.Plan.Full.Method != full.MethodXtraBackup {
		t.Errorf("it holds %s, and was to hold %s", result.Executed, m.Within)
	}
	left, err := filepath.Glob(filepath.Join(o.DataDir, "xtrabackup*"))
	if err != nil || len(left) > 0 {
		t.Errorf("it leaves %q, %v", left, err)
	}
	again := servers.Run(t, program, o.DataDir)
	if got := pasts.Parse(t, again.Text("SELECT @@gtid_executed")); !got.Equal(m.Within) {
		t.Errorf("the server has executed %s, and was to have executed %s", got, m.Within)
	}
	if got := again.Text("SELECT GROUP_CONCAT(a ORDER BY a) FROM shop.t"); got != "1,2" {
		t.Errorf("it holds %s", got)
	}
	again.Do("INSERT INTO shop.t VALUES (3)")
}
