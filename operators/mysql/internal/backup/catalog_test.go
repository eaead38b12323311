package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/stores"
	"github.com/kapok-operators/kapok/shared/objectstore"
)

const source = "00000000-0000-0000-0000-000000000001"

// stored puts a manifest, or a text.
func stored(t *testing.T, s objectstore.Store, key string, content any) {
	t.Helper()
	text, is := content.(string)
	if !is {
		raw, err := backup.Encode(content)
		if err != nil {
			t.Fatal(err)
		}
		text = string(raw)
	}
	if err := s.Put(t.Context(), key, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
}

// open returns a store in a folder.
func open(t *testing.T, dir string) objectstore.Store {
	t.Helper()
	s := stores.Folder(t, dir)
	return s
}

func aFull(t *testing.T, name string, day, upTo int) backup.Full {
	t.Helper()
	at := began.AddDate(0, 0, day)
	set := parse(t, fmt.Sprintf("%s:1-%d", source, upTo))
	return backup.Full{
		Name: name, Instance: "shop-1", Method: "clone", Version: "9.7.0", Began: at, Finished: at.Add(time.Minute), Newest: at.Add(time.Minute),
		Holds: set, Within: set, Bytes: 100, Parts: []backup.Part{{Number: 1, Digest: objectstore.Digest{Size: 3, SHA256: "x"}, Files: []string{"ibdata1"}}},
	}
}

func aPiece(t *testing.T, number uint64, day, first, last int) backup.Piece {
	t.Helper()
	p := backup.Piece{
		Number: number, Epoch: 4, Instance: "shop-1", Holds: parse(t, fmt.Sprintf("%s:%d-%d", source, first, last)),
		Oldest: began.AddDate(0, 0, day), Newest: began.AddDate(0, 0, day).Add(time.Hour), Bytes: 10, Digest: objectstore.Digest{Size: 4, SHA256: "y"},
	}
	if first > 1 {
		p.After = parse(t, fmt.Sprintf("%s:1-%d", source, first-1))
	}
	return p
}

func TestWhatIsStoredIsInTheCatalog(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	want := backup.Catalog{
		Fulls:  []backup.Full{aFull(t, "a", 1, 10), aFull(t, "b", 2, 20)},
		Pieces: []backup.Piece{aPiece(t, 1, 1, 1, 15), aPiece(t, 2, 2, 16, 30)},
		Mark:   backup.Mark{At: began.AddDate(0, 0, 3), Archived: parse(t, source+":1-30")},
	}
	stored(t, s, backup.FullKey("uid", "b"), want.Fulls[1])
	stored(t, s, backup.PartKey("uid", "b", 1), "abc")
	stored(t, s, backup.FullKey("uid", "a"), want.Fulls[0])
	stored(t, s, backup.PartKey("uid", "a", 1), "abc")
	stored(t, s, backup.PartKey("uid", "under-way", 1), "abc")
	for _, p := range want.Pieces {
		stored(t, s, p.Key("uid")+".json", p)
		stored(t, s, p.Key("uid"), "abcd")
	}
	stored(t, s, backup.MarkKey("uid"), want.Mark)
	stored(t, s, backup.FullKey("uid-of-another", "c"), aFull(t, "c", 1, 10))

	got, err := backup.Load(t.Context(), s, "uid")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Loose) != 1 || got.Loose[0].Key != backup.PartKey("uid", "under-way", 1) || len(got.Damaged) != 0 {
		t.Errorf("loose %v, damaged %v", got.Loose, got.Damaged)
	}
	got.Loose = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("catalog (-want +got):\n%s", diff)
	}
	if reach := got.Reach(); !reach.Equal(want.Mark.At) {
		t.Errorf("it reaches to %s", reach)
	}
	if gaps := got.Gaps(); !gaps.IsEmpty() {
		t.Errorf("it lacks %s", gaps)
	}
	got.Pieces = got.Pieces[:1]
	if gaps := got.Gaps(); gaps.String() != source+":21-30" {
		t.Errorf("without the last piece it lacks %s", gaps)
	}
}

// TestReadersOfBeforeThereWereTablesReadManifests: a restore may be made by the version before the one that took the backup.
func TestReadersOfBeforeThereWereTablesReadManifests(t *testing.T) {
	m := aFull(t, "a", 1, 10)
	m.Tables = []backup.Table{{Schema: "shop", Name: "t", Checksum: 1 << 33}}
	raw, err := backup.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	var before struct {
		Name string `json:"name"`
	}
	if err := backup.Decode(raw, &before); err != nil || before.Name != "a" {
		t.Errorf("one of before reads %+v, %v", before, err)
	}
	var now backup.Full
	if err := backup.Decode(raw, &now); err != nil || !cmp.Equal(now.Tables, m.Tables) {
		t.Errorf("there was %+v, and it is read as %+v, %v", m.Tables, now.Tables, err)
	}
	m.Tables = nil
	if raw, err = backup.Encode(m); err != nil || bytes.Contains(raw, []byte("tables")) {
		t.Errorf("without tables: %s, %v", raw, err)
	}
}

func TestWhatIsDamagedIsNeitherUsedNorDeleted(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"cut":               func(b []byte) []byte { return b[:len(b)/2] },
		"empty":             func([]byte) []byte { return nil },
		"changed":           func(b []byte) []byte { return []byte(strings.Replace(string(b), "shop-1", "shop-2", 1)) },
		"of a later format": func(b []byte) []byte { return []byte(strings.Replace(string(b), `"format":1`, `"format":2`, 1)) },
		"of something else": func([]byte) []byte { return []byte("[]") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			piece := aPiece(t, 1, 1, 1, 15)
			keys := []string{backup.FullKey("uid", "b"), piece.Key("uid") + ".json"}
			stored(t, s, backup.FullKey("uid", "a"), aFull(t, "a", 1, 10))
			stored(t, s, keys[0], aFull(t, "b", 2, 20))
			stored(t, s, backup.PartKey("uid", "b", 1), "abc")
			stored(t, s, keys[1], piece)
			stored(t, s, piece.Key("uid"), "abcd")
			for _, key := range keys {
				path := filepath.Join(dir, filepath.FromSlash(key))
				raw, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, spoil(raw), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := backup.Load(t.Context(), s, "uid")
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Damaged) != 2 || len(got.Fulls) != 1 || len(got.Pieces) != 0 || len(got.Loose) != 0 {
				t.Fatalf("catalog: %+v", got)
			}
			for _, d := range got.Damaged {
				if !errors.Is(d.Why, backup.ErrDamaged) {
					t.Errorf("%s: %v", d.Key, d.Why)
				}
				if is := map[string]string{keys[0]: "b"}[d.Key]; d.Name() != is {
					t.Errorf("%s is the manifest of full backup %q", d.Key, d.Name())
				}
			}
			fulls, err := backup.LoadFulls(t.Context(), s, "uid")
			if err != nil || len(fulls.Fulls) != 1 || len(fulls.Damaged) != 1 || len(fulls.Loose) != 0 {
				t.Errorf("the full backups alone: %+v, %v", fulls, err)
			}
			if f, found, err := backup.LoadFull(t.Context(), s, "uid", "a"); err != nil || !found || f.Name != "a" {
				t.Errorf("the one that is whole: %+v, %t, %v", f, found, err)
			}
			if f, found, err := backup.LoadFull(t.Context(), s, "uid", "b"); !errors.Is(err, backup.ErrDamaged) || found {
				t.Errorf("the one that is damaged: %+v, %t, %v", f, found, err)
			}
			if f, found, err := backup.LoadFull(t.Context(), s, "uid", "c"); err != nil || found {
				t.Errorf("one that is not there: %+v, %t, %v", f, found, err)
			}
			if plan, err := got.Restore(backup.Target{}); err != nil || plan.Full.Name != "a" {
				t.Errorf("restore: %+v, %v", plan, err)
			}
			if gone := got.Expire("uid", backup.Retention{For: time.Hour, Count: 1}, began.AddDate(1, 0, 0)); len(gone) > 0 {
				t.Errorf("deleted: %+v", gone)
			}
		})
	}
}

func TestAManifestUnderAnotherNameIsNotBelieved(t *testing.T) {
	s := open(t, t.TempDir())
	stored(t, s, backup.FullKey("uid", "a"), aFull(t, "b", 1, 10))
	stored(t, s, aPiece(t, 7, 1, 1, 2).Key("uid")+".json", aPiece(t, 8, 1, 1, 2))
	got, err := backup.Load(t.Context(), s, "uid")
	if err != nil || len(got.Damaged) != 2 || len(got.Fulls)+len(got.Pieces) != 0 {
		t.Errorf("catalog: %+v, %v", got, err)
	}
}

// failing is a store that does not answer to Get.
type failing struct{ objectstore.Store }

// Get implements objectstore.Store.
func (failing) Get(context.Context, string, int64) (io.ReadCloser, error) {
	return nil, objectstore.ErrDenied
}

func TestAStoreThatFailsIsNoEmptyCatalog(t *testing.T) {
	s := open(t, t.TempDir())
	stored(t, s, backup.FullKey("uid", "a"), aFull(t, "a", 1, 10))
	if got, err := backup.Load(t.Context(), failing{s}, "uid"); !errors.Is(err, objectstore.ErrDenied) {
		t.Errorf("catalog: %+v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := backup.Load(ctx, s, "uid"); err == nil {
		t.Errorf("catalog: %+v", got)
	}
}

func TestWhatCannotBeRestoredIsSaidInWords(t *testing.T) {
	whole := backup.Catalog{
		Fulls: []backup.Full{aFull(t, "a", 1, 10)}, Pieces: []backup.Piece{aPiece(t, 1, 1, 11, 15), aPiece(t, 2, 2, 16, 30)},
		Mark: backup.Mark{At: began.AddDate(0, 0, 3), Archived: parse(t, source+":1-30")},
	}
	gap := whole
	gap.Pieces = whole.Pieces[1:]
	for name, test := range map[string]struct {
		catalog backup.Catalog
		target  backup.Target
		want    string
	}{
		"nothing stored":        {backup.Catalog{}, backup.Target{}, "no full backup"},
		"later than the mark":   {whole, backup.Target{Time: began.AddDate(0, 0, 4)}, "reaches to 2026-01-04T00:00:00Z"},
		"before everything":     {whole, backup.Target{Time: began}, "a, is already later"},
		"a transaction in it":   {whole, backup.Target{Before: parse(t, source+":10")}, "a, is already later"},
		"never archived":        {whole, backup.Target{Through: parse(t, source+":31")}, "in no piece"},
		"never archived before": {whole, backup.Target{Before: parse(t, source+":31")}, "in no piece"},
		"a gap":                 {gap, backup.Target{}, source + ":11-15 are missing"},
		"a gap before":          {gap, backup.Target{Through: parse(t, source+":20")}, source + ":11-15 are missing"},
		"two targets":           {whole, backup.Target{Time: began, Through: parse(t, source+":20")}, "more than one target"},
		"two transactions":      {whole, backup.Target{Through: parse(t, source+":20-21")}, "must be one transaction"},
	} {
		plan, err := test.catalog.Restore(test.target)
		if said, ok := errors.AsType[*backup.Unreachable](err); !ok || !strings.Contains(said.Why, test.want) {
			t.Errorf("%s: %+v, %v", name, plan, err)
		}
	}
}

func TestWhatWasNeverFinishedGoesAfterTwoDays(t *testing.T) {
	c := backup.Catalog{
		Fulls: []backup.Full{aFull(t, "a", 1, 10)},
		Loose: []objectstore.Info{{Key: "uid/full/b/000001", Modified: began}, {Key: "uid/full/c/000001", Modified: began.Add(time.Hour)}},
	}
	gone := c.Expire("uid", backup.Retention{For: 24 * time.Hour}, began.Add(48*time.Hour+time.Minute))
	if len(gone) != 1 || gone[0].Keys[0] != "uid/full/b/000001" {
		t.Errorf("deleted: %+v", gone)
	}
}
