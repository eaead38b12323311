package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kapok-operators/kapok/shared/agent"
	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// recordPlan is what the clients of a recording do.
type recordPlan struct {
	// folder is where the recording is kept; it outlives the process, so that a node may be lost with a client on it.
	folder string
	// pod tells this process from the others of the same recording, 1 to 9.
	pod int
	// interval is a client's pause between two operations, timeout how long it waits for an answer.
	interval, timeout time.Duration
}

func (p recordPlan) check() error {
	switch {
	case p.folder == "":
		return errors.New("--folder is required: the recording is kept there")
	case p.pod < 1 || p.pod > 9:
		return errors.New("--pod must be between 1 and 9")
	case p.interval < 0 || p.timeout <= 0:
		return errors.New("--interval and --timeout must be positive")
	}
	return nil
}

const (
	// generation is how long clients share an object before they all go on to a new one. Objects stay small by it: an
	// append writes the whole list twice, and whether a history is linearizable takes ever longer to say.
	generation = 10 * time.Second
	// listObjects and registerObjects are how many of each are in use at a time.
	listObjects, registerObjects = 2, 2
	// chapterFile names the chapter that is being recorded.
	chapterFile = "chapter"
	// bootFile counts the starts of the process.
	bootFile = "boot"
)

// recording is a process whose clients write and read, chapter by chapter, and note what they were told.
type recording struct {
	recordPlan
	primary, replicas endpoint
	boot              int
	out               *json.Encoder

	mu sync.Mutex
	// chapter is the one being recorded, nil between chapters; changed is closed when that changes.
	chapter *chapter
	changed chan struct{}
	// busy are the clients that are in the middle of an operation.
	busy sync.WaitGroup
}

// openRecording takes up the recording in the folder, if an earlier process has left one there.
func openRecording(p recordPlan, primary, replicas endpoint, out io.Writer) (*recording, error) {
	r := &recording{recordPlan: p, primary: primary, replicas: replicas, changed: make(chan struct{}),
		out: json.NewEncoder(out)}
	boot, err := os.ReadFile(filepath.Join(p.folder, bootFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read how often the recording was taken up: %w", err)
	}
	if len(boot) > 0 {
		if r.boot, err = strconv.Atoi(string(boot)); err != nil {
			return nil, fmt.Errorf("read how often the recording was taken up: %w", err)
		}
	}
	r.boot++
	if r.boot > maxBoots {
		return nil, fmt.Errorf("the recording was taken up more than %d times", maxBoots)
	}
	if err := agent.WriteFileAtomic(filepath.Join(p.folder, bootFile), []byte(strconv.Itoa(r.boot)), 0o600); err != nil {
		return nil, fmt.Errorf("note that the recording is taken up: %w", err)
	}
	name, err := os.ReadFile(filepath.Join(p.folder, chapterFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read which chapter is recorded: %w", err)
	}
	// Nobody can be told when standard output is gone, and the recording is worth more than its log.
	_ = r.out.Encode(map[string]any{"at": time.Now().UTC(), "begin": p.pod, "boot": r.boot, "chapter": string(name)})
	if len(name) > 0 {
		return r, r.begin(string(name))
	}
	return r, nil
}

var chapterName = regexp.MustCompile(`^[a-z0-9-]{1,60}$`)

// begin starts a chapter. Its objects are new, so that nothing of an earlier chapter weighs on it.
func (r *recording) begin(name string) error {
	if !chapterName.MatchString(name) {
		return fmt.Errorf("a chapter's name has lower-case letters, digits and '-', 60 at most: %q", name)
	}
	if c := r.current(); c != nil && c.name == name {
		// Asked for again: the answer was lost.
		return nil
	}
	c, err := openChapter(r.folder, name, r.boot)
	if err != nil {
		return err
	}
	if err := agent.WriteFileAtomic(filepath.Join(r.folder, chapterFile), []byte(name), 0o600); err != nil {
		return errors.Join(fmt.Errorf("note which chapter is recorded: %w", err), c.close())
	}
	return r.turn(c)
}

// end closes the chapter that is being recorded, once every operation of it has ended.
func (r *recording) end() error {
	if err := os.Remove(filepath.Join(r.folder, chapterFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("note that no chapter is recorded: %w", err)
	}
	return r.turn(nil)
}

// turn replaces the chapter and waits until nobody works on the old one.
func (r *recording) turn(next *chapter) error {
	r.mu.Lock()
	old := r.chapter
	r.chapter = nil
	r.mu.Unlock()
	r.busy.Wait()
	r.mu.Lock()
	r.chapter = next
	close(r.changed)
	r.changed = make(chan struct{})
	r.mu.Unlock()
	if old == nil {
		return nil
	}
	return old.close()
}

// enter returns the chapter that is being recorded and waits for one; the caller says when it is done with it. Nil means that the context
// ended.
func (r *recording) enter(ctx context.Context) (c *chapter, leave func()) {
	for {
		r.mu.Lock()
		c, changed := r.chapter, r.changed
		if c != nil {
			r.busy.Add(1)
			r.mu.Unlock()
			return c, r.busy.Done
		}
		r.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, nil
		case <-changed:
		}
	}
}

// serve runs the clients and answers the control address until the context ends.
func (r *recording) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	control := &http.Server{Addr: controlAddress, Handler: r.handler(), ReadHeaderTimeout: 5 * time.Second}
	go func() { cancel(fmt.Errorf("serve the control address: %w", control.ListenAndServe())) }()
	defer func() { _ = control.Close() }()
	var clients sync.WaitGroup
	for number, behave := range behaviours() {
		c, err := r.client(number, behave)
		if err != nil {
			return err
		}
		clients.Go(func() { c.work(ctx) })
	}
	<-ctx.Done()
	clients.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// behaviour is what a client does, over and over.
type behaviour struct {
	name string
	// replica: it reads from the replicas instead of writing to the primary.
	replica bool
	// act does one thing on the session and notes it.
	act func(c *recorder, ctx context.Context, ch *chapter, s *recordSession) error
}

// behaviours are the clients of one process.
func behaviours() []behaviour {
	return []behaviour{
		{name: "insert", act: (*recorder).insert},
		{name: "list", act: (*recorder).list},
		{name: "register", act: (*recorder).register},
		{name: "replica", replica: true, act: (*recorder).readReplica},
	}
}

// recorder is one client: it does one thing at a time.
type recorder struct {
	recording *recording
	behaviour behaviour
	number    int
	dial      func(ctx context.Context) (*recordSession, error)
	rng       *mathrand.Rand
	next      int64
	// believed is the value of each register as the client last knew it, which a compare-and-set expects.
	believed map[string]int64
}

func (r *recording) client(number int, b behaviour) (*recorder, error) {
	server := r.primary
	if b.replica {
		server = r.replicas
	}
	dial, err := server.recordDialer(r.timeout)
	if err != nil {
		return nil, err
	}
	seed := uint64(r.pod)<<32 | uint64(r.boot)<<8 | uint64(number) //nolint:gosec // All are small and positive.
	return &recorder{recording: r, behaviour: b, number: number, dial: dial, believed: map[string]int64{},
		rng: mathrand.New(mathrand.NewPCG(seed, 2))}, nil //nolint:gosec // Chance, not a secret.
}

// name is unique among all clients there ever were: whoever is started again is somebody else, since what it had under way
// ended with nobody knowing how.
func (c *recorder) name() string {
	return fmt.Sprintf("pod%d.%d/%s", c.recording.pod, c.recording.boot, c.behaviour.name)
}

const (
	// maxBoots and maxValues bound what a value is made of.
	maxBoots  = 99
	maxValues = 10_000_000
)

// value returns a value that nobody else ever writes.
func (c *recorder) value() int64 {
	c.next++
	return ((int64(c.recording.pod)*(maxBoots+1)+int64(c.recording.boot))*10+int64(c.number))*maxValues + c.next%maxValues
}

// work acts until the context ends. After every error the client leaves its session: the server may not be the primary any more.
func (c *recorder) work(ctx context.Context) {
	var s *recordSession
	defer func() {
		if s != nil {
			_ = s.Close() // nothing is under way on it
		}
	}()
	for {
		ch, leave := c.recording.enter(ctx)
		if ch == nil {
			return
		}
		err := c.once(ctx, ch, &s)
		leave()
		wait := c.recording.interval
		if err != nil {
			if s != nil {
				_ = s.Close() // the error that matters is noted
				s = nil
			}
			ch.note(err)
			wait = reconnectPause
		}
		pause(ctx, wait)
	}
}

// once acts once, on a new session if there is none.
func (c *recorder) once(ctx context.Context, ch *chapter, s **recordSession) error {
	if *s == nil {
		opened, err := c.dial(ctx)
		if err != nil {
			return err
		}
		*s = opened
	}
	// An operation under way is not cut short when the process ends: its outcome would be unknown without need.
	return c.behaviour.act(c, context.WithoutCancel(ctx), ch, *s)
}

// object names one of several objects of a chapter, the same for all clients at a time.
func (c *recorder) object(ch *chapter, kind string, among int) string {
	return fmt.Sprintf("%s/%s%d/%d", ch.name, kind, c.rng.IntN(among), history.Now()/generation)
}

func (c *recorder) insert(ctx context.Context, ch *chapter, s *recordSession) error {
	op := history.Operation{Kind: history.KindInsert, Object: ch.name, Value: c.value()}
	return c.record(ch, s, op, func(op *history.Operation) error { return s.insert(ctx, op.Object, op.Value) })
}

func (c *recorder) list(ctx context.Context, ch *chapter, s *recordSession) error {
	object := c.object(ch, "list", listObjects)
	if c.rng.IntN(10) < 4 {
		return c.readList(ctx, ch, s, object)
	}
	op := history.Operation{Kind: history.KindAppend, Object: object, Value: c.value()}
	return c.record(ch, s, op, func(op *history.Operation) error { return s.append(ctx, op.Object, op.Value) })
}

func (c *recorder) readList(ctx context.Context, ch *chapter, s *recordSession, object string) error {
	return c.record(ch, s, history.Operation{Kind: history.KindReadList, Object: object}, func(op *history.Operation) (err error) {
		op.Seen, err = s.readList(ctx, op.Object)
		return err
	})
}

func (c *recorder) readReplica(ctx context.Context, ch *chapter, s *recordSession) error {
	return c.readList(ctx, ch, s, c.object(ch, "list", listObjects))
}

func (c *recorder) register(ctx context.Context, ch *chapter, s *recordSession) error {
	object := c.object(ch, "register", registerObjects)
	expected, known := c.believed[object]
	switch n := c.rng.IntN(10); {
	case n < 4:
		return c.record(ch, s, history.Operation{Kind: history.KindReadRegister, Object: object}, func(op *history.Operation) (err error) {
			op.Seen, err = s.readRegister(ctx, op.Object)
			if len(op.Seen) == 1 {
				c.believed = map[string]int64{object: op.Seen[0]}
			}
			return err
		})
	case n < 7 && known:
		op := history.Operation{Kind: history.KindCompareAndSet, Object: object, Expected: expected, Value: c.value()}
		return c.record(ch, s, op, func(op *history.Operation) (err error) {
			op.Applied, err = s.compareAndSet(ctx, op.Object, op.Expected, op.Value)
			if err == nil && !op.Applied {
				delete(c.believed, object)
				return errNotApplied
			}
			return err
		})
	}
	op := history.Operation{Kind: history.KindWrite, Object: object, Value: c.value()}
	return c.record(ch, s, op, func(op *history.Operation) error { return s.write(ctx, op.Object, op.Value) })
}

// errNotApplied says that a compare-and-set met another value. It had no effect, and what value it met is not known.
var errNotApplied = errors.New("another value")

// record notes that an operation begins, lets it happen, and notes how it ended.
func (c *recorder) record(ch *chapter, s *recordSession, op history.Operation, do func(*history.Operation) error) error {
	op.Client, op.Server, op.Outcome, op.Invoked = c.name(), s.server, history.Pending, history.Now()
	id, err := ch.begin(op)
	if err != nil {
		return err
	}
	failed := do(&op)
	op.Returned = history.Now()
	switch {
	case errors.Is(failed, errNotApplied):
		op.Outcome, failed = history.Failed, nil
	default:
		op.Outcome = classify(failed)
	}
	return errors.Join(failed, ch.end(id, op))
}

// parseItems reads the elements of a list as they are stored.
func parseItems(items string) ([]int64, error) {
	if items == "" {
		return nil, nil
	}
	words := strings.Split(items, ",")
	out := make([]int64, 0, len(words))
	for _, word := range words {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read a list's element: %w", err)
		}
		out = append(out, n)
	}
	return out, nil
}
