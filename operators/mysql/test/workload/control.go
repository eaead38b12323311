package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"

	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// controlAddress is where a run is controlled from inside its own pod only.
const controlAddress = "127.0.0.1:7070"

// eventView is an event as it is printed.
type eventView struct {
	Name string `json:"name"`
	gapView
	Opened time.Time `json:"opened"`
	Closed time.Time `json:"closed,omitzero"`
	// Acknowledged counts the acknowledgements within the window.
	Acknowledged int `json:"acknowledged"`
}

func (r *run) event(e history.Event) eventView {
	view := eventView{Name: e.Name, gapView: r.view(e.Gap), Opened: r.wall(e.Opened), Acknowledged: e.Acknowledged}
	if e.Closed != 0 {
		view.Closed = r.wall(e.Closed)
	}
	return view
}

// report is everything that is known so far.
type report struct {
	Run     string           `json:"run"`
	Started time.Time        `json:"started"`
	Writing bool             `json:"writing"`
	Tally   history.Tally    `json:"tally"`
	Events  []eventView      `json:"events,omitempty"`
	Gaps    []gapView        `json:"gaps,omitempty"`
	Errors  map[string]int   `json:"errors,omitempty"`
	Verdict *history.Verdict `json:"verdict,omitempty"`
}

func (r *run) report() report {
	view := report{Run: r.id, Started: r.wall(0), Writing: true, Tally: r.recorder.Tally()}
	select {
	case <-r.stopped:
		view.Writing = false
	default:
	}
	for _, e := range r.recorder.Events() {
		view.Events = append(view.Events, r.event(e))
	}
	for _, g := range r.recorder.Gaps(noticeableGap) {
		view.Gaps = append(view.Gaps, r.view(g))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	view.Errors, view.Verdict = maps.Clone(r.errors), r.verdict
	return view
}

// handler answers the control address.
func (r *run) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/mark", func(w http.ResponseWriter, req *http.Request) {
		name := req.URL.Query().Get("name")
		if name == "" {
			http.Error(w, "an event needs a name", http.StatusBadRequest)
			return
		}
		at := r.now()
		r.recorder.Open(name, at)
		r.print(map[string]any{"at": r.wall(at), "mark": name})
		answer(w, r.report().Tally)
	})
	mux.HandleFunc("/close", func(w http.ResponseWriter, _ *http.Request) {
		event, ok := r.recorder.Close(r.now())
		if !ok {
			http.Error(w, "no event is open", http.StatusConflict)
			return
		}
		view := r.event(event)
		r.print(map[string]any{"at": view.Closed, "event": view})
		answer(w, view)
	})
	mux.HandleFunc("/current", func(w http.ResponseWriter, _ *http.Request) {
		event, ok := r.recorder.Current(r.now())
		if !ok {
			http.Error(w, "no event is open", http.StatusConflict)
			return
		}
		answer(w, r.event(event))
	})
	mux.HandleFunc("/recovered", func(w http.ResponseWriter, req *http.Request) {
		within, err := time.ParseDuration(req.URL.Query().Get("within"))
		if err != nil {
			http.Error(w, "within: "+err.Error(), http.StatusBadRequest)
			return
		}
		event, err := r.recovered(req.Context(), within)
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		answer(w, event)
	})
	mux.HandleFunc("/report", func(w http.ResponseWriter, _ *http.Request) { answer(w, r.report()) })
	mux.HandleFunc("/stop", func(w http.ResponseWriter, req *http.Request) {
		if r.halt(req.Context()) {
			answer(w, r.report())
		}
	})
	mux.HandleFunc("/verify", func(w http.ResponseWriter, req *http.Request) {
		if !r.halt(req.Context()) {
			return
		}
		verdict, err := r.verify(req.Context(), req.URL.Query().Get("address"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		r.mu.Lock()
		r.verdict = &verdict
		r.mu.Unlock()
		answer(w, r.report())
	})
	return mux
}

// recovered waits until the silence of the open event has ended and writes go on, and closes the event. Waiting here
// spares the cluster a new process for every look.
func (r *run) recovered(ctx context.Context, within time.Duration) (eventView, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		event, ok := r.recorder.Current(r.now())
		switch {
		case !ok:
			return eventView{}, errors.New("no event is open")
		case !event.Gap.Ended || event.Acknowledged == 0:
			if pause(ctx, 20*time.Millisecond) {
				continue
			}
			return eventView{}, fmt.Errorf("no write was acknowledged within %s", within)
		}
		closed, _ := r.recorder.Close(r.now())
		view := r.event(closed)
		r.print(map[string]any{"at": view.Closed, "event": view})
		return view, nil
	}
}

// halt ends the writing and waits for the writers; false means that the caller went away first.
func (r *run) halt(ctx context.Context) bool {
	r.stopOnce.Do(func() { close(r.stop) })
	select {
	case <-r.stopped:
		return true
	case <-ctx.Done():
		return false
	}
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	// A caller that went away cannot be told.
	_ = json.NewEncoder(w).Encode(body)
}

// control asks the run in the same pod and prints its answer.
func control(ctx context.Context, path string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout+30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+controlAddress+"/"+path, nil)
	if err != nil {
		return fmt.Errorf("ask the run: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask the run: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		reason, err := io.ReadAll(io.LimitReader(response.Body, 4096))
		return errors.Join(fmt.Errorf("ask the run: %s: %s", response.Status, reason), err)
	}
	if _, err := io.Copy(out, response.Body); err != nil {
		return fmt.Errorf("read the run's answer: %w", err)
	}
	return nil
}
