package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	mathrand "math/rand/v2"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/kapok-operators/kapok/shared/testkit/history"
)

const (
	// reconnectPause is the pause before a writer connects again.
	reconnectPause = 10 * time.Millisecond
	// noticeableGap is how long a silence must be to be printed.
	noticeableGap = 100 * time.Millisecond
	// verifyTimeout bounds the final comparison; the cluster may be failing over when it begins.
	verifyTimeout = 2 * time.Minute
	// maxErrors bounds how many different error messages are counted.
	maxErrors = 50
)

// plan is what to write.
type plan struct {
	writers  int
	interval time.Duration
	duration time.Duration
	payload  int
	timeout  time.Duration
	table    string
}

func (p plan) check() error {
	switch {
	case p.writers < 1 || p.writers > 256:
		return errors.New("--writers must be between 1 and 256")
	case p.interval < 0 || p.duration <= 0 || p.timeout <= 0:
		return errors.New("--interval, --duration and --timeout must be positive")
	case p.payload < 1 || p.payload > math.MaxUint16:
		return errors.New("--payload must be between 1 and 65535")
	case !regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`).MatchString(p.table):
		return errors.New("--table must be a plain name")
	}
	return nil
}

// run is one run of the workload.
type run struct {
	plan
	server   endpoint
	id       string
	started  time.Time
	recorder *history.Recorder

	stopOnce sync.Once
	stop     chan struct{} // closed: end the writing
	stopped  chan struct{} // closed: every writer has ended

	outMu sync.Mutex
	out   *json.Encoder

	mu      sync.Mutex
	errors  map[string]int
	verdict *history.Verdict
}

func newRun(p plan, server endpoint, out io.Writer) *run {
	return &run{plan: p, server: server, id: hex.EncodeToString(randomBytes(8)), started: time.Now(),
		recorder: history.NewRecorder(p.writers), stop: make(chan struct{}), stopped: make(chan struct{}),
		out: json.NewEncoder(out), errors: map[string]int{}}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails, says its documentation
	return b
}

// now is the time since the start by the monotonic clock.
func (r *run) now() time.Duration { return time.Since(r.started) }

// wall turns a time since the start into a time of day.
func (r *run) wall(d time.Duration) time.Time { return r.started.Add(d).UTC() }

// print writes one line to standard output.
func (r *run) print(line any) {
	r.outMu.Lock()
	defer r.outMu.Unlock()
	// Nobody can be told when standard output is gone, and the run is worth more than its log.
	_ = r.out.Encode(line)
}

// serve creates the table, writes until told to stop, and answers the control address until the context ends.
func (r *run) serve(ctx context.Context) error {
	dial, err := r.server.dialer(r.table, r.timeout)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	control := &http.Server{Addr: controlAddress, Handler: r.handler(), ReadHeaderTimeout: 5 * time.Second}
	go func() { cancel(fmt.Errorf("serve the control address: %w", control.ListenAndServe())) }()
	defer func() { _ = control.Close() }()

	if err := r.prepare(ctx); err != nil {
		return err
	}
	r.write(ctx, dial)
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// prepare creates the table, trying until the server takes it.
func (r *run) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	db, err := r.server.open(20 * time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	for {
		_, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS `"+r.table+"` ("+
			"run CHAR(16) NOT NULL, writer INT NOT NULL, seq BIGINT NOT NULL, payload BLOB NOT NULL, "+
			"PRIMARY KEY (run, writer, seq)) CHARACTER SET ascii")
		if err == nil {
			return nil
		}
		r.note(err)
		if !pause(ctx, 500*time.Millisecond) {
			return fmt.Errorf("create the table for %s: %w", verifyTimeout, err)
		}
	}
}

// write runs the writers until the context ends, stop is called or the duration is over.
func (r *run) write(ctx context.Context, dial dialer) {
	defer close(r.stopped)
	ctx, cancel := context.WithTimeout(ctx, r.duration)
	defer cancel()
	go func() {
		select {
		case <-r.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	r.print(map[string]any{"at": r.wall(r.now()), "begin": r.id, "writers": r.writers, "server": r.server.address})
	var writers sync.WaitGroup
	for w := range r.writers {
		writers.Go(func() { r.writer(ctx, w, dial) })
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ticker.C:
			r.print(map[string]any{"at": r.wall(r.now()), "progress": r.recorder.Tally()})
		case <-ctx.Done():
		}
	}
	writers.Wait()
	r.print(map[string]any{"at": r.wall(r.now()), "end": r.recorder.Tally()})
}

// writer writes one row after the other. After every error it leaves the connection: a refused row means that it may be
// talking to a server that is not the primary any more.
func (r *run) writer(ctx context.Context, id int, dial dialer) {
	var s session
	defer func() {
		if s != nil {
			_ = s.Close() // nothing is under way on it
		}
	}()
	for ctx.Err() == nil {
		if s == nil {
			opened, err := dial(ctx)
			if err != nil {
				r.note(err)
				pause(ctx, reconnectPause)
				continue
			}
			s = opened
		}
		if err := r.row(ctx, id, s); err != nil {
			r.note(err)
			_ = s.Close() // the error that matters is noted
			s = nil
			pause(ctx, reconnectPause)
			continue
		}
		pause(ctx, r.interval)
	}
}

// row writes the writer's next row. Stopping does not cut it short: its outcome would be unknown without need.
func (r *run) row(ctx context.Context, id int, s session) error {
	seq := r.recorder.Begin(id)
	err := s.Insert(context.WithoutCancel(ctx), r.id, id, seq, payload(r.id, id, seq, r.payload))
	at := r.now()
	if gap := r.recorder.End(id, seq, classify(err), at); gap.Length() > noticeableGap {
		r.print(r.view(gap))
	}
	return err
}

// payload returns the content of a row. It looks random and is the same for the same row, so that the comparison needs
// no copy of it.
func payload(run string, writer int, seq int64, size int) []byte {
	var seed [32]byte
	copy(seed[:], fmt.Sprintf("%s/%d/%d", run, writer, seq))
	content := make([]byte, size)
	_, _ = mathrand.NewChaCha8(seed).Read(content) // never fails, says its documentation
	return content
}

// note counts an error by its message.
func (r *run) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	message := err.Error()
	if _, known := r.errors[message]; !known && len(r.errors) >= maxErrors {
		message = "other"
	}
	r.errors[message]++
}

// verify compares the table with the history. The writing must have ended.
func (r *run) verify(ctx context.Context, address string) (history.Verdict, error) {
	server := r.server
	if address != "" {
		server.address = address
	}
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	for {
		verdict, err := r.compare(ctx, server)
		if err == nil {
			r.print(map[string]any{"at": r.wall(r.now()), "verdict": verdict, "server": server.address})
			return verdict, nil
		}
		r.note(err)
		if !pause(ctx, time.Second) {
			return history.Verdict{}, fmt.Errorf("read the table for %s: %w", verifyTimeout, err)
		}
	}
}

// compare reads every row of this run once.
func (r *run) compare(ctx context.Context, server endpoint) (history.Verdict, error) {
	db, err := server.open(30 * time.Second)
	if err != nil {
		return history.Verdict{}, err
	}
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(ctx, "SELECT writer, seq, payload FROM `"+r.table+"` WHERE run = ? ORDER BY writer, seq", r.id)
	if err != nil {
		return history.Verdict{}, err
	}
	defer func() { _ = rows.Close() }()
	judge := r.recorder.Judge()
	for rows.Next() {
		var (
			writer  int
			seq     int64
			content []byte
		)
		if err := rows.Scan(&writer, &seq, &content); err != nil {
			return history.Verdict{}, err
		}
		judge.Found(writer, seq, bytes.Equal(content, payload(r.id, writer, seq, r.payload)))
	}
	if err := rows.Err(); err != nil {
		return history.Verdict{}, err
	}
	return judge.Verdict(), nil
}

// gapView is a gap as it is printed.
type gapView struct {
	Milliseconds float64   `json:"gap_ms"`
	From         time.Time `json:"from"`
	To           time.Time `json:"to"`
	Ended        bool      `json:"ended"`
}

func (r *run) view(g history.Gap) gapView {
	return gapView{Milliseconds: math.Round(float64(g.Length().Microseconds())/100) / 10,
		From: r.wall(g.From), To: r.wall(g.To), Ended: g.Ended}
}
