package chaos

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func kill(number int, gap time.Duration, change func(*Result)) Result {
	r := Result{Round: Round{Seed: 7, Number: number, Faults: []Fault{{Kind: KillServer}}}, Converged: true, EpochBefore: 1, EpochAfter: 2,
		Injected: []injected{{Fault: Fault{Kind: KillServer}}}, Gap: gap, Whole: 2 * time.Second,
		Phases: Phases{Detected: 10 * time.Millisecond, Promoted: 100 * time.Millisecond}, Verdict: Verdict{Acknowledged: 100, Reads: 10}}
	if change != nil {
		change(&r)
	}
	return r
}

func TestSummaryOfAGoodCampaign(t *testing.T) {
	s := Summarize(7, 1, []Result{kill(1, 400*time.Millisecond, nil), kill(2, 600*time.Millisecond, nil)})
	if !s.Good() {
		t.Fatalf("a good campaign is none: %+v", s.Failing)
	}
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"seed", "faults", "acknowledged", "lost", "phantom", "dual_writers", "stale_reads_max_ms", "unconverged", "gap_ms", "by_fault"} {
		if _, there := got[name]; !there {
			t.Errorf("%q is missing from %s", name, raw)
		}
	}
	want := ByFault{Rounds: 2, Failovers: 2, Detect: Distribution{2, 10, 10, 10}, Promote: Distribution{2, 100, 100, 100},
		Gap: Distribution{2, 400, 600, 600}, Whole: Distribution{2, 2000, 2000, 2000}}
	if diff := cmp.Diff(map[string]ByFault{"kill-mysqld": want}, s.ByFault); diff != "" {
		t.Errorf("by fault (-want +got):\n%s", diff)
	}
	if s.Faults != 2 || s.Acknowledged != 200 || s.Gap.Max != 600 {
		t.Errorf("%+v", s)
	}
}

func TestEveryBrokenPromiseFailsTheCampaign(t *testing.T) {
	for name, spoil := range map[string]func(*Result){
		"lost":            func(r *Result) { r.Lost = 1 },
		"phantom":         func(r *Result) { r.Phantom = 1 },
		"disordered":      func(r *Result) { r.Disordered = 1 },
		"no order":        func(r *Result) { r.NotLinearizable = 1 },
		"dual writer":     func(r *Result) { r.DualWriters = 1 },
		"stale for long":  func(r *Result) { r.StaleFor = staleLimit },
		"not whole again": func(r *Result) { r.Converged = false },
	} {
		t.Run(name, func(t *testing.T) {
			s := Summarize(7, 1, []Result{kill(1, time.Second, nil), kill(2, time.Second, spoil)})
			if s.Good() || len(s.Failing) != 1 || s.Failing[0].Round != 2 {
				t.Fatalf("the campaign is good: %+v", s.Failing)
			}
			if got, want := s.Failing[0].Reproduce, "SEED=7 FROM=2 FAULTS=1 make chaos"; got != want {
				t.Errorf("to see it again: %q, want %q", got, want)
			}
			var out strings.Builder
			s.Print(&out)
			if !strings.Contains(out.String(), s.Failing[0].Reproduce) {
				t.Errorf("the table does not say how to see it again:\n%s", out.String())
			}
		})
	}
	for name, results := range map[string][]Result{
		"no round":             nil,
		"nothing acknowledged": {kill(1, time.Second, func(r *Result) { r.Acknowledged = 0 })},
	} {
		if Summarize(7, 1, results).Good() {
			t.Errorf("%s: a campaign that proves nothing is good", name)
		}
	}
	if !Summarize(7, 1, []Result{kill(1, time.Second, func(r *Result) { r.StaleFor = staleLimit - 1; r.Undecided = 1; r.ReplicaDiverged = 1 })}).Good() {
		t.Error("what is only to be published fails the campaign")
	}
}

func TestAFaultThatWasNotInjectedDoesNotCount(t *testing.T) {
	r := kill(1, time.Second, func(r *Result) { r.Injected[0].Failed = "no such process" })
	if s := Summarize(7, 1, []Result{r}); s.Faults != 0 || s.NotInjected != 1 {
		t.Errorf("%d faults, %d not injected", s.Faults, s.NotInjected)
	}
}

func TestPhasesAreReadFromTheOperatorsLog(t *testing.T) {
	began := time.Date(2026, 11, 25, 14, 0, 0, 0, time.UTC)
	key := client.ObjectKey{Namespace: "a", Name: "shop"}
	log := `{"time":"2026-11-25T13:59:59Z","msg":"The cluster stands","name":"shop","namespace":"a","state":"FailingOver","why":"an earlier one"}
not JSON
{"time":"2026-11-25T14:00:00.020Z","msg":"The cluster stands","name":"other","namespace":"a","state":"FailingOver"}
{"time":"2026-11-25T14:00:00.100Z","msg":"Committed","name":"shop","namespace":"a","step":"Promote","epoch":2}
{"time":"2026-11-25T14:00:00.040Z","msg":"The cluster stands","name":"shop","namespace":"a","state":"FailingOver"}
{"time":"2026-11-25T14:00:05Z","msg":"Committed","name":"shop","namespace":"a","step":"Promote","epoch":3}
`
	want := Phases{Detected: 40 * time.Millisecond, Promoted: 100 * time.Millisecond}
	if diff := cmp.Diff(want, phasesOf(parseLog([]byte(log)), key, began)); diff != "" {
		t.Errorf("phases (-want +got):\n%s", diff)
	}
}
