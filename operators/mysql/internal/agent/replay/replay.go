// Package replay brings the history that an archive holds into the data folder of a restored backup: a private server executes the pieces of a plan
// as if they were its relay log, and ends exactly where the plan says. What it has executed then is compared with what it should have.
package replay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/parcel"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/sandbox"
	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/binlog"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/shared/objectstore"
)

const (
	// batchBytes is how much is unpacked before it is executed, if no single piece is larger.
	batchBytes = 1 << 30
	// poll is the pause between two looks at the applier.
	poll = 50 * time.Millisecond
	// relayIndex is the file that lists the relay log's files.
	relayIndex = "relay.index"
)

// Options say what is replayed, and where.
type Options struct {
	// Sandbox is the private server, with the data folder of the restored backup.
	Sandbox sandbox.Options
	// Store is where the archive is, below the folder Cluster.
	Store   objectstore.Store
	Cluster string
	// Identities open what is encrypted.
	Identities []age.Identity
	// Adopt is what the data hold whether they say so or not: whoever took the backup knew it. Nothing for data that know it themselves.
	Adopt gtid.Set
	// BatchBytes is how much is unpacked before it is executed; 0 means 1 GiB. So much room is needed beside the data.
	BatchBytes int64
	// Progress, if set, is told after each batch how many of the pieces are done.
	Progress func(done, of int)

	discarded gtid.Set
}

// Run replays a plan's pieces, and returns what the data hold in the end. After an error, the data folder is worth nothing any more.
func Run(ctx context.Context, o Options, plan backup.Plan) (gtid.Set, error) {
	if o.BatchBytes == 0 {
		o.BatchBytes = batchBytes
	}
	o.discarded = plan.Discarded
	executed, err := o.executed(ctx)
	if err != nil {
		return gtid.Set{}, err
	}
	if !executed.Contains(plan.Full.Holds) {
		return gtid.Set{}, fmt.Errorf("the restored backup lacks %s, which its manifest promises", plan.Full.Holds.Subtract(executed))
	}
	for from := 0; from < len(plan.Pieces); {
		to, size := from, int64(0)
		for to < len(plan.Pieces) && (to == from || size+plan.Pieces[to].Bytes <= o.BatchBytes) {
			size += plan.Pieces[to].Bytes
			to++
		}
		var until backup.Target
		if to == len(plan.Pieces) {
			until = plan.Until
		}
		if executed, err = o.batch(ctx, plan.Pieces[from:to], until, executed); err != nil {
			return gtid.Set{}, err
		}
		if from = to; o.Progress != nil {
			o.Progress(to, len(plan.Pieces))
		}
	}
	return executed, nil
}

// executed asks what the data hold, and has the server forget whom it was a replica of: the copy may be of one, and its channel neither fits the
// archive, nor is anything of it wanted in what is restored.
func (o Options) executed(ctx context.Context) (executed gtid.Set, err error) {
	server, err := sandbox.Start(ctx, o.Sandbox)
	if err != nil {
		return gtid.Set{}, fmt.Errorf("start the restored backup: %w", err)
	}
	executed, err = o.adopt(ctx, server.Client())
	if err == nil {
		err = server.Client().ForgetSource(ctx)
	}
	if err := errors.Join(err, server.Stop(ctx)); err != nil {
		return gtid.Set{}, err
	}
	return executed, nil
}

// adopt has the server know what the data hold, and returns that.
func (o Options) adopt(ctx context.Context, client *mysqld.Client) (gtid.Set, error) {
	look := func() (gtid.Set, error) {
		text, err := client.Executed(ctx)
		if err != nil {
			return gtid.Set{}, err
		}
		return gtid.Parse(text)
	}
	executed, err := look()
	if err != nil {
		return gtid.Set{}, err
	}
	lacking := o.Adopt.Subtract(executed)
	if lacking.IsEmpty() {
		return executed, nil
	}
	if err := client.Adopt(ctx, lacking.String()); err != nil {
		return gtid.Set{}, err
	}
	return look()
}

// batch replays some pieces, and returns what the data hold then.
func (o Options) batch(ctx context.Context, pieces []backup.Piece, until backup.Target, executed gtid.Set) (gtid.Set, error) {
	w := want{executed: executed, until: until, discarded: o.discarded}
	var index strings.Builder
	var names []string
	for i, p := range pieces {
		name := fmt.Sprintf("relay.%06d", i+1)
		if err := o.unpack(ctx, p, filepath.Join(o.Sandbox.DataDir, name), &w); err != nil {
			return gtid.Set{}, fmt.Errorf("unpack piece %d of the archive: %w", p.Number, err)
		}
		names = append(names, name)
		_, _ = fmt.Fprintf(&index, "./%s\n", name)
	}
	if err := os.WriteFile(filepath.Join(o.Sandbox.DataDir, relayIndex), []byte(index.String()), 0o600); err != nil {
		return gtid.Set{}, fmt.Errorf("list the archive's pieces: %w", err)
	}
	goal, err := w.set()
	if err != nil {
		return gtid.Set{}, err
	}
	server, err := sandbox.Start(ctx, o.Sandbox)
	if err != nil {
		return gtid.Set{}, fmt.Errorf("start the restored backup: %w", err)
	}
	if err := execute(ctx, server, names[0], w, goal); err != nil {
		return gtid.Set{}, errors.Join(err, server.Kill())
	}
	if err := server.Stop(ctx); err != nil {
		return gtid.Set{}, err
	}
	for _, name := range append(names, relayIndex) {
		if err := os.Remove(filepath.Join(o.Sandbox.DataDir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return gtid.Set{}, fmt.Errorf("remove a piece that was replayed: %w", err)
		}
	}
	return goal, nil
}

// execute has the server execute the files, and waits until it holds exactly the goal.
func execute(ctx context.Context, server *sandbox.Server, first string, w want, goal gtid.Set) error {
	client := server.Client()
	if err := client.BeginReplay(ctx, first, w.before, w.after); err != nil {
		return err
	}
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		state, err := client.ReplayState(ctx)
		if err != nil {
			return err
		}
		if state.Problem != "" {
			return fmt.Errorf("replay the archive: %s", state.Problem)
		}
		executed, err := gtid.Parse(state.Executed)
		if err != nil {
			return err
		}
		switch {
		case !goal.Contains(executed):
			return fmt.Errorf("replay the archive: %s were executed beyond the target", executed.Subtract(goal))
		case executed.Equal(goal):
			return client.EndReplay(ctx)
		case !state.Running:
			return fmt.Errorf("replay the archive: it ended before %s", goal.Subtract(executed))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("replay the archive: %w", context.Cause(ctx))
		case <-ticker.C:
		}
	}
}

// want is what the data are to hold after a batch, and where the applier has to end for it.
type want struct {
	executed gtid.Set
	until    backup.Target
	replayed gtid.Builder
	// discarded is what is left out.
	discarded gtid.Set
	// before and after are the transaction at which the applier ends.
	before, after string
}

// set returns what the data are to hold.
func (w *want) set() (gtid.Set, error) {
	if (!w.until.Through.IsEmpty() || !w.until.Before.IsEmpty()) && w.before+w.after == "" {
		return gtid.Set{}, errors.New("the archive does not hold the transaction at which replaying is to end, although its manifest says so")
	}
	replayed, err := w.replayed.Set()
	if err != nil {
		return gtid.Set{}, fmt.Errorf("read the archive: %w", err)
	}
	return w.executed.Union(replayed), nil
}

// meet takes the next transaction into account.
func (w *want) meet(tr binlog.Transaction) {
	if w.before+w.after != "" || w.executed.HoldsTagged(tr.Server, tr.Tag, tr.Number) {
		return
	}
	switch {
	case !w.until.Time.IsZero() && tr.Committed.After(w.until.Time), w.until.Before.HoldsTagged(tr.Server, tr.Tag, tr.Number):
		w.before = tr.String()
		return
	case w.until.Through.HoldsTagged(tr.Server, tr.Tag, tr.Number):
		w.after = tr.String()
	}
	w.replayed.Add(tr.Server, tr.Tag, tr.Number, tr.Number)
}

// unpack writes a piece to a file, and looks at each of its transactions. Everything is checked against its checksums before a server sees it.
func (o Options) unpack(ctx context.Context, p backup.Piece, path string, w *want) (err error) {
	stored := objectstore.Open(ctx, o.Store, p.Key(o.Cluster), p.Digest)
	defer func() { err = errors.Join(err, stored.Close()) }()
	unpacked, err := parcel.Unpack(stored, p.Sealed, o.Identities)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unpacked.Close()) }()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("make room for it: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	out := bufio.NewWriterSize(f, 1<<20)
	if err := errors.Join(look(io.LimitReader(unpacked, p.Bytes), p.Bytes, out, w), out.Flush()); err != nil {
		return err
	}
	// What is left is the end of the parcel, with its checksum, and that of the object.
	for _, rest := range []io.Reader{unpacked, stored} {
		n, err := io.Copy(io.Discard, rest)
		if err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("%d bytes follow its end", n)
		}
	}
	return nil
}

// look reads a piece to its end, and writes what is to be replayed of it.
func look(in io.Reader, size int64, out io.Writer, w *want) error {
	r, err := binlog.NewReader(in, size)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(out, binlog.Magic); err != nil {
		return fmt.Errorf("write it: %w", err)
	}
	within := true
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch e.Type {
		case binlog.GTID, binlog.TaggedGTID:
			tr, err := binlog.Begin(e)
			if err != nil {
				return err
			}
			if within = !w.discarded.HoldsTagged(tr.Server, tr.Tag, tr.Number); within {
				w.meet(tr)
			}
		case binlog.Format, binlog.PreviousGTIDs, binlog.Rotate, binlog.Stop:
			within = true // These are of the file, and of no transaction.
		default:
		}
		if !within {
			continue
		}
		if _, err := out.Write(e.Raw); err != nil {
			return fmt.Errorf("write it: %w", err)
		}
	}
}
