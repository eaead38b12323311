package state

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

func TestStateSurvivesARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kapok")
	store, s, fresh, err := Open(dir)
	if err != nil || !fresh {
		t.Fatalf("fresh = %v, err = %v", fresh, err)
	}
	s, promised, _ := s.Promise(instance.Directive{Term: 3, Epoch: 7, Record: instance.Record{Epoch: 7, Primary: "shop-0", Voters: []string{"shop-0"}}})
	if !promised {
		t.Fatal("a first promise need not be durable")
	}
	s.Served, s.Kept = 7, true
	s.Channel = &Channel{Epoch: 6, Source: "shop-1", Host: "10.0.0.1", Port: 3306, Secret: "x"}
	s.Config = Config{ServerID: 100, Options: map[string]string{"max_connections": "200"}, BufferPoolBytes: 1 << 25}
	if err := store.Save(s); err != nil {
		t.Fatal(err)
	}
	_, again, fresh, err := Open(dir)
	if err != nil || fresh {
		t.Fatalf("fresh = %v, err = %v", fresh, err)
	}
	if diff := cmp.Diff(s, again); diff != "" {
		t.Error(diff)
	}
	if _, promised, noted := again.Promise(instance.Directive{Term: 3, Epoch: 7, Record: s.Record}); promised || noted {
		t.Error("the same promise is a change, so every directive would be written")
	}
}

func TestRecordOfThePromisedEpochIsNotedOnly(t *testing.T) {
	s := State{Term: 3, Promised: 7, Record: instance.Record{Epoch: 7, Primary: "shop-0", Voters: []string{"shop-0"}}}
	next, promised, noted := s.Promise(instance.Directive{Term: 3, Epoch: 7,
		Record: instance.Record{Epoch: 7, Primary: "shop-0", Voters: []string{"shop-0", "shop-1"}}})
	if promised || !noted || len(next.Record.Voters) != 2 {
		t.Errorf("promised %v, noted %v, record %+v", promised, noted, next.Record)
	}
}

func TestDamagedStateIsNeverTakenForFresh(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, file), []byte(`{"sha256":"00","data":{"term":1}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := Open(dir); err == nil {
		t.Fatal("a damaged state file was accepted")
	}
}

func TestRefusal(t *testing.T) {
	s := State{Term: 5, Promised: 9}
	for name, tc := range map[string]struct {
		term, epoch uint64
		refused     bool
	}{
		"same":                    {5, 9, false},
		"newer term":              {6, 9, false},
		"newer epoch":             {5, 10, false},
		"older term":              {4, 9, true},
		"older term, newer epoch": {4, 10, true},
		"older epoch":             {5, 8, true},
		"newer term, older epoch": {6, 8, true},
	} {
		if got := s.Refusal(instance.Directive{Term: tc.term, Epoch: tc.epoch}); (got != "") != tc.refused {
			t.Errorf("%s: refusal %q", name, got)
		}
	}
}

func TestRecordIsNeverReplacedByAnOlderOne(t *testing.T) {
	s := State{Record: instance.Record{Epoch: 9, Primary: "a"}}
	s, _, _ = s.Promise(instance.Directive{Term: 1, Epoch: 9, Record: instance.Record{Epoch: 8, Primary: "b"}})
	if s.Record.Primary != "a" {
		t.Errorf("record %+v", s.Record)
	}
}
