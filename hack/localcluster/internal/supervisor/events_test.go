package supervisor

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/control"
)

func TestFollowersSeeEveryLineUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEvents()
		e.line("first")
		w := httptest.NewRecorder()
		done := make(chan struct{})
		go func() {
			defer close(done)
			e.ServeHTTP(w, httptest.NewRequest("GET", "/events", nil))
		}()
		synctest.Wait() // The follower has read the first line and waits.
		e.line("second")
		e.end(control.Failed, errors.New("broken"))
		<-done
		got := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
		want := []string{
			`{"line":"first","state":"starting"}`, `{"line":"second","state":"starting"}`, `{"state":"failed","error":"broken"}`,
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got %q", got)
		}
	})
}

func TestAnEndedStartStaysEnded(t *testing.T) {
	e := newEvents()
	e.end(control.Ready, nil)
	e.line("node1 Ready again")
	if got := e.last().State; got != control.Ready {
		t.Errorf("state %s", got)
	}
}
