package agent

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/duty"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/errant"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/state"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/trim"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// How long the start of a former primary is held (duty.Hold). All are counted from the end of its mysqld, or from the start
// of the agent if that found it ended.
const (
	// bootPause is how long an agent that comes up waits for its first directive.
	bootPause = 3 * time.Second
	// isolatedPause is the same for a primary that fenced itself: nobody could hear it anyway.
	isolatedPause = 10 * time.Second
	// supersededPause bounds the wait for what the new primary holds.
	supersededPause = 15 * time.Second
	// rejoinPause leaves the processor to the failover before the tail is looked at.
	rejoinPause = time.Second
	// rejoinPatience is how long archiving a tail may take. A fence for a later epoch ends it too.
	rejoinPatience = time.Minute
)

// holdMemory is what the agent knows about a mysqld that is not started yet.
type holdMemory struct {
	// since is when it ended. pause is how long it waits for a word at most.
	since time.Time
	pause time.Duration
	// rejoining: the tail is being archived.
	rejoining bool
}

// begin begins to hold the start.
func (h *holdMemory) begin(now time.Time, pause time.Duration) { h.since, h.pause = now, pause }

// held says what is due for a mysqld that does not run, and when: to start it, or to look at its tail first. Only the loop
// calls it, while no work owns the memory.
func (a *Agent) held() (rejoin bool, at time.Time) {
	m, h := &a.memory, &a.holding
	switch duty.Held(a.opts.Instance, m.state, m.directive) {
	case duty.HoldBriefly:
		pause := h.pause
		if m.directive != nil {
			// The operator has been heard, and nobody has been promoted yet: it may need what this instance holds.
			pause = min(pause, failoverPause)
		}
		at = h.since.Add(pause)
	case duty.HoldSuperseded:
		at = h.since.Add(supersededPause)
	case duty.HoldRejoin:
		return true, h.since.Add(rejoinPause)
	case duty.HoldNot:
	}
	if at.Before(a.nextStart) {
		at = a.nextStart
	}
	return false, at
}

// comeUp looks at what is on the volume, and decides whether an agent that comes up holds the start.
func (a *Agent) comeUp(now time.Time) {
	s := &a.memory.state
	empty, err := isEmpty(a.paths.data)
	a.ignoreEnd(err)
	a.memory.hasData = !empty
	if s.Served > s.Recovered && !trim.InUse(a.paths.data) {
		// It was stopped in peace.
		s.Recovered, a.memory.unsaved = s.Served, true
	}
	a.holding.begin(now, bootPause)
}

// rejoin is the work that prepares the return of a former primary: find what is in its binary log and not in the new
// history, and archive it. The cut itself is made by the start that follows. Whatever is in doubt stays as it is.
func (a *Agent) rejoin(ctx context.Context) func() {
	ctx, cancel := context.WithTimeout(ctx, rejoinPatience)
	defer cancel()
	m := &a.memory
	d := m.directive
	begun := time.Now()
	next := state.Rejoin{Epoch: d.Epoch, Source: d.Rejoin.Source, ServerUUID: d.Rejoin.ServerUUID, Holds: d.Rejoin.Holds}
	found, err := a.archiveTail(ctx, &next)
	if errors.Is(ctx.Err(), context.Canceled) {
		a.log.Info("Left the tail of the binary log as it is for now: something else is asked for")
		return nil
	}
	switch {
	case err != nil:
		next.Phase, next.Doubt = state.PhaseDoubtful, err.Error()
		a.log.Warn("Rebuild by CLONE if it comes up with more than the primary holds: the tail of the binary log stays because of a doubt",
			"doubt", next.Doubt, "source", next.Source)
	case !found:
		a.log.Info("The binary log holds nothing that the primary does not", "source", next.Source, "took", sinceText(begun))
		return a.settled(nil)
	default:
		next.Phase = state.PhaseArchived
		m.archives = listArchives(a.paths.archive)
		a.log.Info("Archived the tail of the binary log", "folder", next.Archive, "gtids", next.Removed, "file", next.File,
			"from", next.Position, "to", next.Size, "took", sinceText(begun))
	}
	return a.settled(&next)
}

// settled keeps what was decided about the tail, and lets mysqld be started.
func (a *Agent) settled(next *state.Rejoin) func() {
	err := a.save(func(st *state.State) {
		if next != nil {
			st.Rejoin = next
		}
		if next == nil || next.Phase != state.PhaseArchived {
			st.Recovered = st.Served
		}
	})
	return func() {
		if err != nil {
			a.fail(instance.ProblemDuty, err)
			a.holding.since = time.Now()
			return
		}
		a.nextStart = time.Time{}
	}
}

// archiveTail looks for the tail and archives it. It changes nothing of mysqld's.
func (a *Agent) archiveTail(ctx context.Context, next *state.Rejoin) (found bool, err error) {
	known, err := a.known(*next)
	if err != nil {
		return false, err
	}
	if err := a.unused(); err != nil {
		return false, err
	}
	tail, err := trim.Survey(a.paths.data, known)
	if err != nil || tail.IsEmpty() {
		return false, err
	}
	next.File, next.Position, next.Size, next.Removed = filepath.Base(tail.File), tail.Position, tail.Size, tail.Removed.String()
	next.Archive, err = errant.ArchiveTail(ctx, errant.Request{
		Root: a.paths.archive, Set: tail.Removed, Decoder: a.decoder(), Supervisor: a.supervisor,
		Instance: a.opts.Instance, ServerUUID: known.Own, Source: next.Source, At: time.Now(),
		Why: fmt.Sprintf("nobody acknowledged them before %s took over in epoch %d", next.Source, next.Epoch),
	}, errant.Tail{Path: tail.File, Preamble: tail.Preamble, Position: tail.Position, End: tail.End, Size: tail.Size})
	if err != nil {
		return false, fmt.Errorf("archive the tail: %w", err)
	}
	return true, nil
}

// unused returns a Doubt if some process has the data open: whatever was read may change, and nothing may be cut.
func (a *Agent) unused() error {
	open, err := trim.HeldOpen(a.paths.data)
	if err != nil {
		return &trim.Doubt{Why: fmt.Sprintf("nobody can tell whether another process has the data open: %v", err)}
	}
	if open {
		return &trim.Doubt{Why: "another process has the data open"}
	}
	return nil
}

// known is what the binary log is compared with.
func (a *Agent) known(r state.Rejoin) (trim.Known, error) {
	holds, err := gtid.Parse(r.Holds)
	if err != nil {
		return trim.Known{}, fmt.Errorf("read what the primary holds: %w", err)
	}
	own, err := serverUUID(a.paths.data)
	if err != nil {
		return trim.Known{}, err
	}
	source := strings.ToLower(r.ServerUUID)
	if source == "" || source == own {
		return trim.Known{}, &trim.Doubt{Why: fmt.Sprintf("%s has the UUID %q", r.Source, r.ServerUUID)}
	}
	return trim.Known{Own: own, Source: source, Holds: holds}, nil
}

// identity is the file in which a server keeps its UUID.
const identity = "auto.cnf"

// serverUUID reads the UUID of the server whose data these are.
func serverUUID(data string) (string, error) {
	raw, err := os.ReadFile(filepath.Join(data, identity))
	if err != nil {
		return "", &trim.Doubt{Why: "the server's UUID cannot be read"}
	}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), "=")
		if strings.ReplaceAll(strings.TrimSpace(name), "-", "_") != "server_uuid" {
			continue
		}
		value = strings.ToLower(strings.TrimSpace(value))
		if _, err := gtid.Parse(value + ":1"); err == nil {
			return value, nil
		}
	}
	return "", &trim.Doubt{Why: "the server's UUID cannot be read"}
}

// decoder returns the path of mysqlbinlog; "" if the image has none.
func (a *Agent) decoder() string {
	if path, err := exec.LookPath(filepath.Join(filepath.Dir(a.opts.Mysqld), "mysqlbinlog")); err == nil {
		return path
	}
	if path, err := exec.LookPath("mysqlbinlog"); err == nil {
		return path
	}
	return ""
}

// settlePast is the part of a start after which it is settled what becomes of the transactions that waited when the
// instance last served: those of an archived tail are removed, all others will be committed.
func (a *Agent) settlePast() error {
	if err := a.removeTail(); err != nil {
		return err
	}
	if s := a.memory.state; s.Served <= s.Recovered {
		return nil
	}
	return a.save(func(st *state.State) { st.Recovered = st.Served })
}

// removeTail is the part of a start that cuts an archived tail off. It may have been begun by an agent that was killed.
func (a *Agent) removeTail() error {
	r := a.memory.state.Rejoin
	if r == nil || r.Phase != state.PhaseArchived {
		return nil
	}
	err := a.cut(*r)
	if doubt, ok := errors.AsType[*trim.Doubt](err); ok {
		a.log.Warn("Rebuild by CLONE: the archived tail is not removed because of a doubt", "doubt", doubt.Why)
		return a.save(func(st *state.State) {
			next := *r
			next.Phase, next.Doubt = state.PhaseDoubtful, doubt.Why
			st.Rejoin, st.Recovered = &next, st.Served
		})
	}
	if err != nil {
		return err
	}
	a.log.Info("Removed the tail of the binary log", "gtids", r.Removed, "file", r.File, "from", r.Position, "to", r.Size)
	return a.save(func(st *state.State) {
		next := *r
		next.Phase = state.PhaseRemoved
		st.Rejoin, st.Recovered = &next, st.Served
	})
}

// cut removes an archived tail, if it still is what was archived.
func (a *Agent) cut(r state.Rejoin) error {
	if err := a.unused(); err != nil {
		return err
	}
	file := filepath.Join(a.paths.data, r.File)
	info, err := os.Stat(file)
	if err != nil {
		return &trim.Doubt{Why: fmt.Sprintf("%s is not there any more", r.File)}
	}
	if info.Size() != r.Position {
		known, err := a.known(r)
		if err != nil {
			return err
		}
		tail, err := trim.Survey(a.paths.data, known)
		if err != nil {
			return err
		}
		if tail.File != file || tail.Position != r.Position || tail.Size != r.Size || tail.Removed.String() != r.Removed {
			return &trim.Doubt{Why: "the binary log is not what it was when its tail was archived"}
		}
	}
	if err := trim.Cut(file, r.Position, r.Size); err != nil {
		return err
	}
	// The numbers of the removed transactions must not be given again: somebody may hold what went under them.
	if err := a.forgetIdentity(); err != nil {
		return err
	}
	return trim.SyncDir(a.paths.data)
}

// settleRejoin checks what a server has come up with whose tail was removed.
func (a *Agent) settleRejoin(o mysqld.Observation) error {
	r := a.memory.state.Rejoin
	if r == nil || r.Phase != state.PhaseRemoved {
		return nil
	}
	excess, err := duty.CameBack(*r, o.Executed)
	if err != nil {
		return fmt.Errorf("compare what came up with what the primary holds: %w", err)
	}
	next := *r
	if excess.IsEmpty() {
		next.Phase = state.PhaseDone
		removed, err := gtid.Parse(r.Removed)
		if err != nil {
			return fmt.Errorf("read what was removed: %w", err)
		}
		a.log.Info(fmt.Sprintf("Rejoined by removing %d transactions from the binary log: %s, archived in %s",
			removed.Count(), r.Removed, r.Archive), "source", r.Source, "epoch", r.Epoch)
	} else {
		next.Phase, next.Doubt = state.PhaseDoubtful, "it came up with transactions that were committed already: "+excess.String()
		a.log.Warn("Rebuild by CLONE: what was removed from the binary log is not all rolled back", "doubt", next.Doubt, "source", r.Source)
	}
	return a.save(func(st *state.State) { st.Rejoin = &next })
}

// rejoinReport is what reports say about the newest return, as long as the epoch in which it was decided is the promised one.
func (m *memory) rejoinReport() *instance.Rejoin {
	r := m.state.Rejoin
	if r == nil || r.Epoch != m.state.Promised || r.Phase == state.PhaseArchived {
		return nil
	}
	out := &instance.Rejoin{Epoch: r.Epoch, Source: r.Source, Done: r.Phase == state.PhaseDone, Doubt: r.Doubt}
	out.Archive = r.Archive
	if r.Phase == state.PhaseRemoved || r.Phase == state.PhaseDone {
		out.Removed = r.Removed
		if removed, err := gtid.Parse(r.Removed); err == nil {
			out.Count = removed.Count()
		}
	}
	return out
}

func sinceText(begun time.Time) string { return time.Since(begun).Round(time.Millisecond).String() }
