// Package pasts makes histories on real servers, with what was stored of them, and remembers what was there at each moment.
package pasts

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/archive"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/full"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/servers"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/stores"
	"github.com/kapok-operators/kapok/shared/objectstore"
)

const (
	// Cluster is the UID of the cluster whose history it is.
	Cluster = "5f0c"
	// State is a query for everything that is written in a history, as one value.
	State = "SELECT CONCAT((SELECT COUNT(*) FROM shop.t), ' ', COALESCE((SELECT BIT_XOR(CRC32(CONCAT_WS('#', a, b))) FROM shop.t), 0))"
	// writes is how many statements make a history.
	writes = 60
)

// Moment is what the model knows of a moment: the newest transaction, when it was committed, and the state that it left.
type Moment struct {
	GTID  gtid.Set
	At    time.Time
	State string
}

// Past is a history that really happened, and what was stored of it.
type Past struct {
	Moments []Moment
	// Store is where it was stored: the folder Dir.
	Store   objectstore.Store
	Dir     string
	Catalog backup.Catalog
	// Key opens what is stored.
	Key *age.X25519Identity
}

// Happen lets a server write, be it as one or as another primary, and be archived meanwhile. So many full backups are taken on the way, from the
// beginning on, while it writes.
func Happen(t *testing.T, program string, r *rand.Rand, fulls int) Past {
	t.Helper()
	s := servers.Run(t, program, servers.Blank(t, program))
	dir := t.TempDir()
	store := stores.Folder(t, dir)
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	p := Past{Store: store, Dir: dir, Key: id}
	open := func(epoch uint64) *archive.Archive {
		a, err := archive.Open(t.Context(), archive.Options{
			Store: store, Cluster: Cluster, Instance: "shop-0", Epoch: epoch, DataDir: s.Dir, Recipients: []age.Recipient{id.Recipient()}, PieceBytes: 20_000,
		})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	// The agent's account is in no history.
	s.Do("SET sql_log_bin = 0", "CREATE USER kapok_admin@localhost IDENTIFIED BY 'secret'", "GRANT ALL ON *.* TO kapok_admin@localhost WITH GRANT OPTION",
		"SET sql_log_bin = 1")
	s.Do("CREATE DATABASE shop", "CREATE TABLE shop.t (a INT PRIMARY KEY AUTO_INCREMENT, b TEXT)")
	a, executed := open(1), gtid.Set{}
	var taking sync.WaitGroup
	defer taking.Wait()
	for n := range writes {
		write(s, r, n)
		now := Parse(t, s.Text("SELECT @@gtid_executed"))
		if newest := now.Subtract(executed); newest.Count() == 1 {
			p.Moments = append(p.Moments, Moment{newest, time.Now(), s.Text(State)})
		}
		executed = now
		time.Sleep(2 * time.Millisecond)
		if fulls > 0 && n%(writes/fulls) == 1 {
			taking.Wait()
			taking.Go(func() { take(t, s, store, id, fmt.Sprintf("full-%d", n)) })
		}
		if r.IntN(8) == 0 {
			s.Do("FLUSH BINARY LOGS")
		}
		if r.IntN(10) == 0 {
			a = open(uint64(n))
		}
		if r.IntN(5) == 0 || n == writes-1 {
			if _, err := a.Step(t.Context(), archive.Permit{Set: executed, At: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
	}
	taking.Wait()
	s.Stop()
	p.load(t, fulls)
	return p
}

// load looks at what was stored, and makes sure that it is worth a test.
func (p *Past) load(t *testing.T, fulls int) {
	t.Helper()
	catalog, err := backup.Load(t.Context(), p.Store, Cluster)
	if err != nil {
		t.Fatal(err)
	}
	p.Catalog = catalog
	if len(p.Catalog.Fulls) != fulls {
		t.Fatalf("%d of %d full backups", len(p.Catalog.Fulls), fulls)
	}
	if len(p.Catalog.Pieces) < 3 || len(p.Moments) < 30 {
		t.Fatalf("%d pieces of %d moments", len(p.Catalog.Pieces), len(p.Moments))
	}
}

// write changes something.
func write(s *servers.Server, r *rand.Rand, n int) {
	// As after a failover, some transactions have the name of another server.
	name := "AUTOMATIC"
	if n/15%2 == 1 {
		name = fmt.Sprintf("22222222-2222-2222-2222-222222222222:%d", n)
	}
	s.Do("SET gtid_next = '"+name+"'", []string{
		fmt.Sprintf("INSERT INTO shop.t (b) VALUES (REPEAT('%c', %d))", 'a'+n%26, 1+r.IntN(3000)),
		fmt.Sprintf("UPDATE shop.t SET b = CONCAT(b, '%d') WHERE a %% 3 = %d", n, r.IntN(3)),
		fmt.Sprintf("DELETE FROM shop.t WHERE a %% 11 = %d", r.IntN(11)),
		fmt.Sprintf("ALTER TABLE shop.t COMMENT = '%d'", n),
	}[min(r.IntN(6), 3)], "COMMIT", "SET gtid_next = 'AUTOMATIC'")
}

// take takes a full backup.
func take(t *testing.T, s *servers.Server, store objectstore.Store, key *age.X25519Identity, name string) {
	client, err := mysqld.Dial(s.Socket, "secret")
	if err != nil {
		t.Error(err)
		return
	}
	defer client.Close()
	if _, err := full.Take(t.Context(), full.Options{
		Store: store, Cluster: Cluster, Name: name, Instance: "shop-0", Server: client, DataDir: s.Dir, CopyDir: filepath.Join(filepath.Dir(s.Dir), "copy"),
		Recipients: []age.Recipient{key.Recipient()}, PartBytes: 10 << 20,
	}); err != nil {
		t.Error(err)
	}
}

// Parse reads a set of transactions.
func Parse(t *testing.T, text string) gtid.Set {
	t.Helper()
	set, err := gtid.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return set
}
