package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"time"

	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// recordReport is what a recording says of itself.
type recordReport struct {
	// Chapter is the one being recorded, empty between chapters; Boot counts how often the recording was taken up.
	Chapter string `json:"chapter"`
	Boot    int    `json:"boot"`
	// LastAcknowledged is when the newest acknowledged write of the chapter was invoked, by the machine's monotonic clock.
	LastAcknowledged time.Duration `json:"lastAcknowledged"`
	// Errors counts what went wrong, by message.
	Errors map[string]int `json:"errors,omitempty"`
}

// finalState is what the primary holds of a chapter when nobody writes any more.
type finalState struct {
	Set       []int64            `json:"set"`
	Lists     map[string][]int64 `json:"lists"`
	Registers map[string]int64   `json:"registers"`
}

// handler answers the control address.
func (r *recording) handler() http.Handler {
	mux := http.NewServeMux()
	// A change of the chapter waits for the clients; two at a time would wait for each other's.
	turning := make(chan struct{}, 1)
	turn := func(w http.ResponseWriter, change func() error) {
		turning <- struct{}{}
		defer func() { <-turning }()
		if err := change(); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		r.answerReport(w)
	}
	mux.HandleFunc("/prepare", func(w http.ResponseWriter, req *http.Request) {
		if err := r.prepare(req.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		r.answerReport(w)
	})
	mux.HandleFunc("/chapter", func(w http.ResponseWriter, req *http.Request) {
		turn(w, func() error { return r.begin(req.URL.Query().Get("name")) })
	})
	mux.HandleFunc("/end", func(w http.ResponseWriter, _ *http.Request) { turn(w, r.end) })
	mux.HandleFunc("/report", func(w http.ResponseWriter, _ *http.Request) { r.answerReport(w) })
	mux.HandleFunc("/acknowledged", func(w http.ResponseWriter, req *http.Request) {
		r.answerAcknowledged(w, req)
	})
	mux.HandleFunc("/history", func(w http.ResponseWriter, req *http.Request) {
		ops, err := readChapter(r.folder, req.URL.Query().Get("chapter"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		// A caller that went away cannot be told.
		_ = history.Write(w, ops)
	})
	mux.HandleFunc("/final", func(w http.ResponseWriter, req *http.Request) {
		state, err := r.final(req.Context(), req.URL.Query().Get("chapter"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		answer(w, state)
	})
	return mux
}

func (r *recording) current() *chapter {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.chapter
}

func (r *recording) answerReport(w http.ResponseWriter) {
	report := recordReport{Boot: r.boot}
	if c := r.current(); c != nil {
		noted, err := c.noted()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		report.Chapter, report.LastAcknowledged, report.Errors = c.name, c.lastAcknowledged(), noted
	}
	answer(w, report)
}

// answerAcknowledged waits until a write was acknowledged that was invoked after the given moment. Waiting here spares the
// cluster a new process for every look.
func (r *recording) answerAcknowledged(w http.ResponseWriter, req *http.Request) {
	after, err := time.ParseDuration(req.URL.Query().Get("after"))
	if err != nil {
		http.Error(w, "after: "+err.Error(), http.StatusBadRequest)
		return
	}
	within, err := time.ParseDuration(req.URL.Query().Get("within"))
	if err != nil {
		http.Error(w, "within: "+err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(req.Context(), within)
	defer cancel()
	for {
		c := r.current()
		switch {
		case c == nil:
			http.Error(w, "no chapter is recorded", http.StatusConflict)
			return
		case c.lastAcknowledged() > after:
			r.answerReport(w)
			return
		}
		if !pause(ctx, 20*time.Millisecond) {
			http.Error(w, fmt.Sprintf("no write was acknowledged within %s", within), http.StatusConflict)
			return
		}
	}
}

// prepare creates the tables, trying until the server takes them.
func (r *recording) prepare(ctx context.Context) error {
	db, err := r.primary.open(20 * time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	for _, statement := range []string{createSets, createLists, createRegisters} {
		for {
			_, err := db.ExecContext(ctx, statement)
			if err == nil {
				break
			}
			if !pause(ctx, 500*time.Millisecond) {
				return fmt.Errorf("create the tables for %s: %w", verifyTimeout, err)
			}
		}
	}
	return nil
}

// final reads what the primary holds of a chapter, in one snapshot, trying until it can.
func (r *recording) final(ctx context.Context, name string) (finalState, error) {
	if !chapterName.MatchString(name) {
		return finalState{}, fmt.Errorf("no chapter has such a name: %q", name)
	}
	db, err := r.primary.open(30 * time.Second)
	if err != nil {
		return finalState{}, err
	}
	defer func() { _ = db.Close() }()
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	for {
		state, err := readFinal(ctx, db, name)
		if err == nil {
			return state, nil
		}
		if !pause(ctx, 500*time.Millisecond) {
			return finalState{}, fmt.Errorf("read the tables for %s: %w", verifyTimeout, err)
		}
	}
}

func readFinal(ctx context.Context, db *sql.DB, name string) (finalState, error) {
	state := finalState{Set: []int64{}, Lists: map[string][]int64{}, Registers: map[string]int64{}}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead})
	if err != nil {
		return state, err
	}
	// It reads only: there is nothing to lose.
	defer func() { _ = tx.Rollback() }()
	var value int64
	err = each(ctx, tx, "SELECT value FROM kapok_set WHERE chapter = ? ORDER BY value", name, func(scan func(...any) error) error {
		err := scan(&value)
		state.Set = append(state.Set, value)
		return err
	})
	if err != nil {
		return state, err
	}
	var object, items string
	err = each(ctx, tx, "SELECT object, items FROM kapok_list WHERE object LIKE CONCAT(?, '/%')", name, func(scan func(...any) error) error {
		if err := scan(&object, &items); err != nil {
			return err
		}
		var err error
		state.Lists[object], err = parseItems(items)
		return err
	})
	if err != nil {
		return state, err
	}
	err = each(ctx, tx, "SELECT object, value FROM kapok_register WHERE object LIKE CONCAT(?, '/%')", name, func(scan func(...any) error) error {
		err := scan(&object, &value)
		state.Registers[object] = value
		return err
	})
	return state, err
}

// each calls f for every row of a query.
func each(ctx context.Context, tx *sql.Tx, query, arg string, f func(scan func(...any) error) error) error {
	rows, err := tx.QueryContext(ctx, query, arg)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}
