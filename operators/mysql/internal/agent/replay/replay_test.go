package replay_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/archive"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/replay"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/sandbox"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/servers"
	"github.com/kapok-operators/kapok/shared/agent"
	"github.com/kapok-operators/kapok/shared/objectstore"
	"github.com/kapok-operators/kapok/shared/objectstore/folder"
)

const (
	uid = "5f0c"
	// pool is what makes a test's servers small.
	pool = 32 << 20
	// state is everything that the test writes, as one value.
	state = "SELECT CONCAT((SELECT COUNT(*) FROM shop.t), ' ', COALESCE((SELECT BIT_XOR(CRC32(CONCAT_WS('#', a, b))) FROM shop.t), 0))"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := servers.Forget(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// moment is what the model knows of a moment: the newest transaction, when it was committed, and the state that it left.
type moment struct {
	gtid  gtid.Set
	at    time.Time
	state string
}

// past is a history that really happened, and its archive.
type past struct {
	moments []moment
	store   objectstore.Store
	catalog backup.Catalog
	id      *age.X25519Identity
}

// happen lets a server write, be it as one or as another primary, and be archived meanwhile.
func happen(t *testing.T, program string, r *rand.Rand) past {
	t.Helper()
	s := servers.Run(t, program, servers.Blank(t, program))
	store, err := folder.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	p := past{store: store, id: id}
	open := func(epoch uint64) *archive.Archive {
		a, err := archive.Open(t.Context(), archive.Options{
			Store: store, Cluster: uid, Instance: "shop-0", Epoch: epoch, DataDir: s.Dir, Recipients: []age.Recipient{id.Recipient()}, PieceBytes: 20_000,
		})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	s.Do("CREATE DATABASE shop", "CREATE TABLE shop.t (a INT PRIMARY KEY AUTO_INCREMENT, b TEXT)")
	a, executed := open(1), gtid.Set{}
	for n := range 60 {
		// As after a failover, some transactions have the name of another server.
		other, name := n/15%2 == 1, "AUTOMATIC"
		if other {
			name = fmt.Sprintf("22222222-2222-2222-2222-222222222222:%d", n)
		}
		s.Do("SET gtid_next = '"+name+"'", []string{
			fmt.Sprintf("INSERT INTO shop.t (b) VALUES (REPEAT('%c', %d))", 'a'+n%26, 1+r.IntN(3000)),
			fmt.Sprintf("UPDATE shop.t SET b = CONCAT(b, '%d') WHERE a %% 3 = %d", n, r.IntN(3)),
			fmt.Sprintf("DELETE FROM shop.t WHERE a %% 11 = %d", r.IntN(11)),
			fmt.Sprintf("ALTER TABLE shop.t COMMENT = '%d'", n),
		}[min(r.IntN(6), 3)], "COMMIT", "SET gtid_next = 'AUTOMATIC'")
		now := parse(t, s.Text("SELECT @@gtid_executed"))
		if newest := now.Subtract(executed); newest.Count() == 1 {
			p.moments = append(p.moments, moment{newest, time.Now(), s.Text(state)})
		}
		executed = now
		time.Sleep(2 * time.Millisecond)
		if r.IntN(8) == 0 {
			s.Do("FLUSH BINARY LOGS")
		}
		if r.IntN(10) == 0 {
			a = open(uint64(n))
		}
		if r.IntN(5) == 0 || n == 59 {
			if _, err := a.Step(t.Context(), archive.Permit{Set: executed, At: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.Stop()
	if p.catalog, err = backup.Load(t.Context(), store, uid); err != nil {
		t.Fatal(err)
	}
	p.catalog.Fulls = []backup.Full{{Name: "nothing"}}
	if len(p.catalog.Pieces) < 3 || len(p.moments) < 30 {
		t.Fatalf("%d pieces of %d moments", len(p.catalog.Pieces), len(p.moments))
	}
	return p
}

func parse(t *testing.T, text string) gtid.Set {
	t.Helper()
	set, err := gtid.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// options are for a replay on a server that was only initialised.
func (p past) options(t *testing.T, program string) replay.Options {
	t.Helper()
	return replay.Options{
		Sandbox: sandbox.Options{Mysqld: program, DataDir: servers.Blank(t, program), RunDir: servers.Folder(t), PoolBytes: pool, Supervisor: &agent.Supervisor{}},
		Store:   p.store, Cluster: uid, Identities: []age.Identity{p.id}, BatchBytes: 40_000,
	}
}

// TestWhatIsReplayedIsWhatWas compares, on real servers, what a replay brings back with what the server showed at that moment.
func TestWhatIsReplayedIsWhatWas(t *testing.T) {
	program := servers.Program(t, os.Getenv("KAPOK_MYSQLD"))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 5))
	p := happen(t, program, r)
	last := len(p.moments) - 1
	some := func() int { return 1 + r.IntN(last-1) }
	a, b, c := some(), some(), some()
	for name, test := range map[string]struct {
		target backup.Target
		want   moment
	}{
		"the newest":           {backup.Target{}, p.moments[last]},
		"a time":               {backup.Target{Time: p.moments[a].at}, p.moments[a]},
		"with a transaction":   {backup.Target{Through: p.moments[b].gtid}, p.moments[b]},
		"before a transaction": {backup.Target{Before: p.moments[c].gtid}, p.moments[c-1]},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := p.catalog.Restore(test.target)
			if err != nil {
				t.Fatal(err)
			}
			o := p.options(t, program)
			done := 0
			o.Progress = func(n, _ int) { done = n }
			executed, err := replay.Run(t.Context(), o, plan)
			if err != nil {
				t.Fatal(err)
			}
			if done != len(plan.Pieces) || !executed.Contains(test.want.gtid) {
				t.Errorf("%d of %d pieces, up to %s", done, len(plan.Pieces), executed)
			}
			left, err := filepath.Glob(filepath.Join(o.Sandbox.DataDir, "relay*"))
			if err != nil || len(left) > 0 {
				t.Errorf("it leaves %v, %v", left, err)
			}
			s := servers.Run(t, program, o.Sandbox.DataDir)
			if got := s.Text(state); got != test.want.state {
				t.Errorf("it brings back %q, and there was %q", got, test.want.state)
			}
			if got := parse(t, s.Text("SELECT @@gtid_executed")); !got.Equal(executed) {
				t.Errorf("the server has executed %s, and is said to have executed %s", got, executed)
			}
			s.Do("INSERT INTO shop.t (b) VALUES ('it can be written to')")
		})
	}
}

func TestWhatCannotBeReplayedIsSaid(t *testing.T) {
	program := servers.Program(t, os.Getenv("KAPOK_MYSQLD"))
	p := happen(t, program, rand.New(rand.NewPCG(1, 6)))
	plan, err := p.catalog.Restore(backup.Target{})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		spoil func(o *replay.Options, plan *backup.Plan)
		want  string
	}{
		"no key":          {func(o *replay.Options, _ *backup.Plan) { o.Identities = nil }, "none of the given keys"},
		"another content": {func(_ *replay.Options, plan *backup.Plan) { plan.Pieces[0].SHA256 = strings.Repeat("0", 64) }, "not what was written"},
		"another size":    {func(_ *replay.Options, plan *backup.Plan) { plan.Pieces[0].Bytes -= 10 }, "end"},
		"a backup that lacks something": {func(_ *replay.Options, plan *backup.Plan) {
			plan.Full.Holds = p.moments[0].gtid
		}, "lacks " + p.moments[0].gtid.String()},
		"a transaction that is not there": {func(_ *replay.Options, plan *backup.Plan) {
			plan.Until.Through = parse(t, "33333333-3333-3333-3333-333333333333:1")
		}, "does not hold the transaction"},
		"a piece that is left out": {func(_ *replay.Options, plan *backup.Plan) { plan.Pieces = plan.Pieces[1:] }, "error 1"},
	} {
		t.Run(name, func(t *testing.T) {
			o, spoilt := p.options(t, program), plan
			spoilt.Pieces = append([]backup.Piece(nil), plan.Pieces...)
			test.spoil(&o, &spoilt)
			executed, err := replay.Run(t.Context(), o, spoilt)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s, %v, want %q", executed, err, test.want)
			}
		})
	}
}
