package archive_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/archive"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
)

// TestAClonedInstanceGoesOn: the binary log of an instance that was cloned does not name what came before it. Its pieces say all the same what they
// follow, so that the archive is whole without the pieces before them; and what nobody says is in the log is missed, and never passed over.
func TestAClonedInstanceGoesOn(t *testing.T) {
	const copied = 10
	all := happen(rand.New(rand.NewPCG(3, 3)), 40)
	s := open(t)
	first := &instance{t: t, name: "shop-0", dir: t.TempDir(), files: []int{0}, size: 1000}
	second := &instance{t: t, name: "shop-1", dir: t.TempDir(), files: []int{copied}, size: 1000, cloned: true}
	hours := 0
	step := func(i *instance, n, purged int) archive.Result {
		t.Helper()
		i.write(rand.New(rand.NewPCG(1, 1)), all[:n])
		hours++
		result, err := once(t, s, i, archive.Permit{Set: set(t, all[:n]), Purged: set(t, all[:purged]), At: began.Add(time.Duration(hours) * time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	load := func() backup.Catalog {
		t.Helper()
		catalog, err := backup.Load(t.Context(), s, uid)
		if err != nil {
			t.Fatal(err)
		}
		return catalog
	}
	step(first, copied, 0)
	full(t, s, "a", set(t, all[:copied]), began)
	if result := step(second, 30, copied); !result.Missing.IsEmpty() {
		t.Errorf("it lacks %s", result.Missing)
	}
	pieces := load().Pieces
	if len(pieces) < 2 || !pieces[1].After.Equal(set(t, all[:copied])) {
		t.Fatalf("the pieces are %+v", pieces)
	}
	// The full backup holds what is in the first piece, which is not kept.
	for _, key := range []string{pieces[0].Key(uid) + ".json", pieces[0].Key(uid)} {
		if err := s.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if result := step(second, 40, copied); !result.Missing.IsEmpty() || !load().Mark.At.Equal(began.Add(time.Duration(hours)*time.Hour)) {
		t.Errorf("it lacks %s, and is complete at %s", result.Missing, load().Mark.At)
	}
	if plan, err := load().Restore(backup.Target{}); err != nil || !load().Gaps().IsEmpty() {
		t.Errorf("a restore: %s, %v", plan.Why, err)
	}

	// Without the beginning and without a full backup, what a copy has brought is nowhere.
	s = open(t)
	if result := step(second, 40, 0); !result.Missing.Equal(set(t, all[:copied])) || !load().Mark.At.IsZero() {
		t.Errorf("it lacks %s, and is complete at %s", result.Missing, load().Mark.At)
	}
}
