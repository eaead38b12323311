package agent_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// serverless is a member whose image has no mysqld: enough to see what an agent promises.
func serverless(t *testing.T) *cluster {
	t.Helper()
	root, err := os.MkdirTemp("", "kapok")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// An agent that is stopped does not wait for what it had under way, as its process ends with it. Here that may still
		// write a file.
		for range 100 {
			if err = os.RemoveAll(root); err == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Error(err)
	})
	m := &member{
		t: t, name: "shop-0", root: filepath.Join(root, "volume"), runDir: filepath.Join(root, "run"),
		mysqld: filepath.Join(root, "no-such-mysqld"), news: make(chan struct{}), grace: time.Second,
	}
	t.Cleanup(m.halt)
	return &cluster{t: t, members: []*member{m}, term: 3, epoch: 7}
}

func TestAnImageWithoutMysqldIsToldAndTheAgentGoesOn(t *testing.T) {
	c := serverless(t)
	m := c.members[0]
	m.start()
	r := m.await("say that there is no server", func(r instance.Report) bool { return r.ProblemReason == instance.ProblemNoServer })
	if !strings.Contains(r.Problem, "no mysqld") || r.State == instance.StateRunning {
		t.Errorf("problem %q in state %s", r.Problem, r.State)
	}
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusServiceUnavailable} {
		answer := httptest.NewRecorder()
		m.agent.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
		if answer.Code != want {
			t.Errorf("%s answers %d, want %d: %s", path, answer.Code, want, answer.Body)
		}
	}
}

func TestI1I11PromisesSurviveTheAgent(t *testing.T) {
	c := serverless(t)
	m := c.members[0]
	m.start()
	record := instance.Record{Epoch: 7, Primary: "shop-1", Voters: []string{"shop-0", "shop-1"}}
	id := c.tell(m, instance.Directive{Role: instance.RoleStandby, Record: record})
	m.await("accept", func(r instance.Report) bool { return r.Directive == id && r.Promised == 7 && r.Term == 3 })
	boot := m.report().Boot
	m.halt()
	m.start()
	r := m.await("come back", func(r instance.Report) bool { return r.Boot != boot })
	if r.Promised != 7 || r.Term != 3 || r.Record.Primary != "shop-1" || r.Directive != "" {
		t.Errorf("after a restart: %+v", r)
	}
	for name, d := range map[string]instance.Directive{
		"older term":              {Role: instance.RolePrimary, Term: 2, Epoch: 9, Primary: &instance.PrimaryDuty{Serve: true}},
		"older epoch":             {Role: instance.RolePrimary, Epoch: 6, Primary: &instance.PrimaryDuty{Serve: true}},
		"newer term, older epoch": {Role: instance.RolePrimary, Term: 9, Epoch: 6, Primary: &instance.PrimaryDuty{Serve: true}},
	} {
		id, err := c.deliver(m, d)
		if err == nil {
			t.Errorf("%s was accepted", name)
		}
		r := m.await("say what it refused", func(r instance.Report) bool { return r.Refused == id })
		if r.RefusedWhy == "" || r.Directive == id {
			t.Errorf("%s: %+v", name, r)
		}
	}
	id = c.tell(m, instance.Directive{Role: instance.RoleStandby, Term: 4, Epoch: 8})
	r = m.await("accept a newer one", func(r instance.Report) bool { return r.Directive == id })
	if r.Refused != "" || r.Promised != 8 || r.Term != 4 || r.Record.Primary != "shop-1" {
		t.Errorf("after a newer directive: %+v", r)
	}
}

func TestAReportNeverHoldsMoreThanItShould(t *testing.T) {
	c := serverless(t)
	m := c.members[0]
	m.start()
	r := m.await("report", func(r instance.Report) bool { return r.Instance != "" })
	if r.Instance != "shop-0" || len(r.SealingKey) != 32 || r.Boot == "" || !r.Blank {
		t.Errorf("report %+v", r)
	}
	if raw, err := json.Marshal(r); err != nil || len(raw) > 1<<10 {
		t.Errorf("a report of an empty instance has %d bytes, %v", len(raw), err)
	}
}
