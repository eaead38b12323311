package restore_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/archive"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/full"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/parcel"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/proof"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/restore"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/sandbox"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/pasts"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/servers"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/stores"
	"github.com/kapok-operators/kapok/shared/agent"
	"github.com/kapok-operators/kapok/shared/objectstore"
)

// unaware is a server that does not say that CLONE leaves its tables of CSV empty. One of those can be spoilt so that it is not sound, while a
// page of InnoDB that is spoilt cannot be read at all.
type unaware struct{ *mysqld.Client }

// Uncopied implements full.Server.
func (unaware) Uncopied(context.Context) ([]string, error) { return nil, nil }

// proven stores a backup that was proven and a piece of the archive behind it, and returns the folder and the manifest.
func proven(t *testing.T, program string) (dir string, m backup.Full) {
	t.Helper()
	s := servers.Run(t, program, servers.Blank(t, program))
	s.Do("SET sql_log_bin = 0", "CREATE USER kapok_admin@localhost IDENTIFIED BY 'secret'", "GRANT ALL ON *.* TO kapok_admin@localhost WITH GRANT OPTION",
		"SET sql_log_bin = 1", "CREATE DATABASE shop", "CREATE TABLE shop.t (a INT PRIMARY KEY, b VARCHAR(100), KEY (b))",
		"INSERT INTO shop.t VALUES (1, 'one'), (2, 'two')", "CREATE TABLE shop.`odd name/ü` (a INT PRIMARY KEY)", "CREATE TABLE shop.c (a INT NOT NULL) ENGINE = CSV",
		"CREATE TABLE shop.m (a INT) ENGINE = MEMORY", "CREATE USER app@localhost IDENTIFIED BY 'of the application'", "GRANT ALL ON shop.* TO app@localhost")
	client, err := mysqld.Dial(s.Socket, "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	dir = t.TempDir()
	store := stores.Folder(t, dir)
	if m, err = full.Take(t.Context(), full.Options{
		Store: store, Cluster: pasts.Cluster, Name: "proven", Instance: "shop-0", Server: unaware{client}, DataDir: s.Dir, CopyDir: filepath.Join(filepath.Dir(s.Dir), "copy"),
		Prove: &sandbox.Options{Mysqld: program, RunDir: servers.Folder(t), Supervisor: &agent.Supervisor{}},
	}); err != nil {
		t.Fatal(err)
	}
	s.Do("INSERT INTO shop.t VALUES (3, 'three')")
	a, err := archive.Open(t.Context(), archive.Options{Store: store, Cluster: pasts.Cluster, Instance: "shop-0", Epoch: 1, DataDir: s.Dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Step(t.Context(), archive.Permit{Set: pasts.Parse(t, s.Text("SELECT @@gtid_executed")), At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	return dir, m
}

// rewritten stores a part anew with one of its files changed, and returns its digest: the wrong data are stored faithfully.
func rewritten(t *testing.T, store objectstore.Store, m backup.Full, part backup.Part, file string, change func(path string) error) objectstore.Digest {
	t.Helper()
	key := backup.PartKey(pasts.Cluster, m.Name, part.Number)
	stored := objectstore.Open(t.Context(), store, key, part.Digest)
	unpacked, err := parcel.Unpack(stored, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	packed, err := parcel.Pack(&out, nil)
	if err != nil {
		t.Fatal(err)
	}
	in, to := tar.NewReader(unpacked), tar.NewWriter(packed)
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(in)
		if err == nil && header.Name == file {
			path := filepath.Join(t.TempDir(), "file")
			if err = errors.Join(os.WriteFile(path, content, 0o600), change(path)); err == nil {
				content, err = os.ReadFile(path)
			}
		}
		header.Size = int64(len(content))
		if err == nil {
			err = to.WriteHeader(header)
		}
		if err == nil {
			_, err = to.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(to.Close(), packed.Close(), unpacked.Close(), stored.Close()); err != nil {
		t.Fatal(err)
	}
	digest, err := objectstore.Save(t.Context(), store, key, &out)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// flipped flips the pages of a table in what is stored.
func flipped(file string) func(*testing.T, objectstore.Store, *backup.Full) {
	return changed(file, servers.Flip)
}

// changed changes a file in what is stored.
func changed(file string, change func(path string) error) func(*testing.T, objectstore.Store, *backup.Full) {
	return func(t *testing.T, store objectstore.Store, m *backup.Full) {
		t.Helper()
		for n, part := range m.Parts {
			if slices.Contains(part.Files, file) {
				m.Parts[n].Digest = rewritten(t, store, *m, part, file, change)
				return
			}
		}
		t.Fatalf("there is no %s", file)
	}
}

// TestWhatIsRestoredIsVerified restores a backup that was proven, as it is and spoilt in all kinds of ways of which no digest tells. What is wrong is
// named, and nothing is put into place.
func TestWhatIsRestoredIsVerified(t *testing.T) {
	program := servers.Program(t, os.Getenv("KAPOK_MYSQLD"))
	whole, manifest := proven(t, program)
	type spoil = func(*testing.T, objectstore.Store, *backup.Full)
	unknown := func(_ *testing.T, _ objectstore.Store, m *backup.Full) { m.Tables = nil }
	for what, c := range map[string]struct {
		spoil []spoil
		// compared is how many tables are, says what is wrong.
		compared int
		says     string
	}{
		"as it is":          {nil, 4, ""},
		"of another server": {[]spoil{func(_ *testing.T, _ objectstore.Store, m *backup.Full) { m.Version = "9.0.0"; m.Tables[0].Checksum++ }}, 0, ""},
		"another checksum": {[]spoil{func(_ *testing.T, _ objectstore.Store, m *backup.Full) { m.Tables[3].Checksum++ }}, 0,
			"1 of 4 tables are not what was backed up: `shop`.`t`: its checksum is "},
		"another table": {[]spoil{func(_ *testing.T, _ objectstore.Store, m *backup.Full) { m.Tables[2].Name = "lost" }}, 0,
			"2 of 4 tables are not what was backed up: `shop`.`lost`: it is missing; `shop`.`odd name/ü`: the manifest does not know it"},
		"flipped":                  {[]spoil{flipped("shop/t.ibd")}, 0, "`shop`.`t`: the server exited with code "},
		"flipped and not compared": {[]spoil{unknown, flipped("shop/odd@0020name@002f@1o.ibd")}, 0, "check what was restored: 1 of 4 tables are not what was backed up: `shop`.`odd name/ü`: "},
		"not sound": {[]spoil{unknown, changed("shop/c.CSV", func(path string) error { return os.WriteFile(path, []byte("\"x\n"), 0o600) }),
			func(_ *testing.T, _ objectstore.Store, m *backup.Full) { m.Bytes += 3 }}, 0, "check what was restored: 1 of 4 tables are not what was backed up: `shop`.`c`: "},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "store")
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			store, m := stores.Folder(t, dir), manifest
			m.Tables, m.Parts = slices.Clone(m.Tables), slices.Clone(m.Parts)
			for _, spoil := range c.spoil {
				spoil(t, store, &m)
			}
			raw, err := backup.Encode(m)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := objectstore.Save(t.Context(), store, backup.FullKey(pasts.Cluster, m.Name), bytes.NewReader(raw)); err != nil {
				t.Fatal(err)
			}
			verified := 0
			o := restore.Options{
				Store: store, Cluster: pasts.Cluster, DataDir: filepath.Join(servers.Folder(t), "data"), Verify: true,
				Mysqld: program, RunDir: servers.Folder(t), PoolBytes: 32 << 20, Supervisor: &agent.Supervisor{},
				Progress: func(stage restore.Stage, _, of int) {
					if stage == restore.StageVerify && of == 4 {
						verified++
					}
				},
			}
			result, err := restore.Run(t.Context(), o)
			if c.says != "" {
				if _, wrong := errors.AsType[*proof.WrongError](err); !wrong || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v", err)
				}
				left(t, o)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			// MEMORY has no check of its tables.
			if result.Sound != 3 || result.Compared != c.compared || result.Verifying <= 0 || verified < 5 {
				t.Errorf("%d are sound, %d were compared: %+v", result.Sound, result.Compared, result)
			}
			s := servers.Run(t, program, o.DataDir)
			if got := s.Text("SELECT GROUP_CONCAT(b ORDER BY a) FROM shop.t"); got != "one,two,three" {
				t.Errorf("it holds %s", got)
			}
			if got := s.Text("SELECT COUNT(*) FROM mysql.user WHERE user = 'app' AND account_locked = 'N'"); got != "1" {
				t.Error("the account of the application is lost")
			}
		})
	}
}
