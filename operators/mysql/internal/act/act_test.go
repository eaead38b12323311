package act

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/observe"
	"github.com/kapok-operators/kapok/operators/mysql/internal/topology"
	"github.com/kapok-operators/kapok/shared/link"
)

// TestRecordsSurviveTheirWayThroughTheAPI writes records as they are applied and as they are remembered, and reads them
// back: a field that is lost on the way would be a decision that is forgotten.
func TestRecordsSurviveTheirWayThroughTheAPI(t *testing.T) {
	for name, record := range map[string]instance.Record{
		"none":        {},
		"plain":       {Epoch: 3, Term: 1 << 50, Primary: "db-1", Voters: []string{"db-0", "db-1"}},
		"addition":    {Epoch: 3, Term: 4, Primary: "db-1", Voters: []string{"db-1"}, Change: &instance.VoterChange{Add: "db-2", Why: "it follows"}},
		"removal":     {Epoch: 3, Term: 4, Primary: "db-1", Voters: []string{"db-1"}, Change: &instance.VoterChange{Remove: "db-2", Why: "away"}},
		"handover":    {Epoch: 3, Term: 4, Primary: "db-1", Voters: []string{"db-0", "db-1"}, Handover: &instance.Handover{To: "db-0", NotAfter: 1_800_000_000_123, Why: "asked"}},
		"given up":    {Epoch: 3, Term: 4, Primary: "db-1", Voters: []string{"db-0", "db-1"}, Handover: &instance.Handover{To: "db-0", NotAfter: 1, GivenUp: true}},
		"no term yet": {Epoch: 1, Primary: "db-0", Voters: []string{"db-0"}},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := json.Marshal(recordConfiguration(record))
			if err != nil {
				t.Fatal(err)
			}
			var applied v1alpha1.Record
			if err := json.Unmarshal(raw, &applied); err != nil {
				t.Fatal(err)
			}
			for how, api := range map[string]*v1alpha1.Record{"applied": &applied, "remembered": apiRecord(record)} {
				got := observe.Record(api)
				if !sameRecord(got, record) {
					t.Errorf("%s: %s", how, cmp.Diff(record, got))
				}
			}
		})
	}
}

func TestSameRecord(t *testing.T) {
	base := func() instance.Record {
		return instance.Record{Epoch: 3, Term: 4, Primary: "db-1", Voters: []string{"db-0", "db-1"}}
	}
	if empty := base(); !sameRecord(instance.Record{Voters: []string{}}, instance.Record{}) || !sameRecord(empty, base()) {
		t.Error("equal records differ")
	}
	for name, change := range map[string]func(*instance.Record){
		"epoch": func(r *instance.Record) { r.Epoch++ }, "term": func(r *instance.Record) { r.Term++ },
		"primary": func(r *instance.Record) { r.Primary = "db-0" }, "voters": func(r *instance.Record) { r.Voters = r.Voters[:1] },
		"change":   func(r *instance.Record) { r.Change = &instance.VoterChange{Add: "db-2"} },
		"handover": func(r *instance.Record) { r.Handover = &instance.Handover{To: "db-0"} },
	} {
		other := base()
		change(&other)
		if sameRecord(base(), other) {
			t.Errorf("records of another %s are taken for the same", name)
		}
	}
}

func TestReasonsFitTheAPI(t *testing.T) {
	long := strings.Repeat("ä", 2000)
	if got := bounded(long); len(got) > 1024 || !strings.HasPrefix(long, got) {
		t.Errorf("%d bytes", len(got))
	}
}

func TestGrants(t *testing.T) {
	name := types.NamespacedName{Namespace: "shop", Name: "my-db"}
	peer := link.PeerKey{Namespace: "shop", Pod: "my-db-1"}
	record := instance.Record{Epoch: 3, Primary: "my-db-0", Voters: []string{"my-db-0"}}
	granted := func(g *Grants) *instance.Grant {
		raw := g.Reply(peer)
		if raw == nil {
			return nil
		}
		var grant instance.Grant
		if err := json.Unmarshal(raw, &grant); err != nil {
			t.Fatal(err)
		}
		return &grant
	}
	for state, want := range map[topology.State]bool{
		topology.Healthy: true, topology.Changing: true, topology.Degraded: true, topology.SwitchingOver: true,
		topology.Promoting: true, topology.Unreachable: true, topology.FailingOver: false, topology.Waiting: false,
	} {
		t.Run(string(state), func(t *testing.T) {
			g := &Grants{}
			if granted(g) != nil {
				t.Fatal("granted before anything was looked at")
			}
			for range 2 {
				// The second time there is something to withdraw.
				if err := g.Renew(name, topology.Observation{Term: 7, Record: record}, topology.Plan{State: topology.Healthy}); err != nil {
					t.Fatal(err)
				}
				if err := g.Renew(name, topology.Observation{Term: 7, Record: record}, topology.Plan{State: state}); err != nil {
					t.Fatal(err)
				}
			}
			grant := granted(g)
			if (grant != nil) != want || want && *grant != (instance.Grant{Term: 7, Epoch: 3, Primary: "my-db-0"}) {
				t.Errorf("granted %+v, want one: %v", grant, want)
			}
			g.Forget(name)
			if granted(g) != nil {
				t.Error("granted to a cluster that is gone")
			}
		})
	}
	g := &Grants{}
	if err := g.Renew(name, topology.Observation{Term: 7}, topology.Plan{State: topology.Starting}); err != nil || granted(g) != nil {
		t.Errorf("a cluster without a primary was granted a lease (%v)", err)
	}
}

// TestNoGrantOutlastsTheLeadership: a lease that could be in force when another replica leads is not granted.
func TestNoGrantOutlastsTheLeadership(t *testing.T) {
	name := types.NamespacedName{Namespace: "shop", Name: "my-db"}
	for sure, want := range map[time.Duration]bool{
		0: false, topology.SelfFenceAfter - 1: false, topology.SelfFenceAfter: true, 4 * time.Second: true,
	} {
		g := &Grants{Sure: func() time.Duration { return sure }}
		record := instance.Record{Epoch: 3, Primary: "my-db-0", Voters: []string{"my-db-0"}}
		if err := g.Renew(name, topology.Observation{Term: 7, Record: record}, topology.Plan{State: topology.Healthy}); err != nil {
			t.Fatal(err)
		}
		if got := g.Reply(link.PeerKey{Namespace: "shop", Pod: "my-db-0"}) != nil; got != want {
			t.Errorf("sure to lead for %s: granted %t, want %t", sure, got, want)
		}
	}
}

func TestClusterOf(t *testing.T) {
	for pod, want := range map[string]string{"db-0": "db", "my-db-12": "my-db", "db": "", "-1": ""} {
		got, ok := ClusterOf("shop", pod)
		if got.Name != want || ok != (want != "") || ok && got.Namespace != "shop" {
			t.Errorf("%q belongs to %v, %v", pod, got, ok)
		}
	}
}
