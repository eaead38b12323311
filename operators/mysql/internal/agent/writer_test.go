package agent_test

import (
	"context"
	"database/sql"
	"strings"
	"sync"
	"testing"
	"time"
)

// writer inserts rows until it is stopped, and remembers which were acknowledged.
type writer struct {
	stop chan struct{}
	done sync.WaitGroup

	mu    sync.Mutex
	acked map[int64]bool
	next  int64
	last  time.Time
}

// write starts n sessions that insert rows into whoever target names.
func write(t *testing.T, n int, target func() *sql.DB) *writer {
	t.Helper()
	w := &writer{stop: make(chan struct{}), acked: map[int64]bool{}, next: time.Now().UnixNano()}
	for range n {
		w.done.Go(func() {
			for {
				select {
				case <-w.stop:
					return
				default:
				}
				w.mu.Lock()
				w.next++
				id := w.next
				w.mu.Unlock()
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				_, err := target().ExecContext(ctx, "INSERT INTO orders (id, note) VALUES (?, ?)", id, strings.Repeat("x", 100))
				cancel()
				if err != nil {
					time.Sleep(5 * time.Millisecond)
					continue
				}
				w.mu.Lock()
				w.acked[id], w.last = true, time.Now()
				w.mu.Unlock()
				// Leave the processor to the servers: these tests are about correctness.
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	return w
}

// count returns how many rows were acknowledged, and when the newest was.
func (w *writer) count() (int, time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked), w.last
}

// awaitRows waits for more acknowledged rows.
func (w *writer) awaitRows(t *testing.T, more int) time.Time {
	t.Helper()
	begin, _ := w.count()
	deadline := time.Now().Add(patience)
	for {
		n, last := w.count()
		if n >= begin+more {
			return last
		}
		if time.Now().After(deadline) {
			t.Fatalf("only %d of %d rows were acknowledged", n-begin, more)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// finish stops the writers and returns the acknowledged rows.
func (w *writer) finish() map[int64]bool {
	close(w.stop)
	w.done.Wait()
	return w.acked
}

// checkRows fails for every acknowledged row that m does not have.
func checkRows(t *testing.T, db *sql.DB, acked map[int64]bool) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT id FROM orders")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	have := map[int64]bool{}
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		have[id] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	lost := 0
	for id := range acked {
		if !have[id] {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d acknowledged rows are lost", lost, len(acked))
	}
	if len(acked) == 0 {
		t.Error("no row was acknowledged, so nothing was proven")
	}
}
