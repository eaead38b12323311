// Package archive brings the binary log of an instance into an object store, transaction by transaction, in pieces that are stored once.
//
// Whoever archives goes on where the store says that the archive ends, by the names of the transactions and not by files: what another instance has
// archived is passed over, and what it has not is found in the own binary log, in which a replica writes whatever it applies. Nothing is remembered
// beside the store, so that a killed archiver leaves no doubt.
package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/kapok-operators/kapok/operators/mysql/internal/backup"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/shared/objectstore"
)

// pieceBytes is how large a piece becomes before the next is begun, if no single transaction is larger.
const pieceBytes = 64 << 20

// Options say what is archived, and where to.
type Options struct {
	// Store is where the archive is.
	Store objectstore.Store
	// Cluster is the UID of the cluster, Instance the name of the one that archives, and Epoch that in which it does.
	Cluster  string
	Instance string
	Epoch    uint64
	// DataDir is the data folder of the instance.
	DataDir string
	// Recipients are for whom the pieces are encrypted; they are not without any.
	Recipients []age.Recipient
	// PieceBytes is how large a piece becomes before the next is begun; 0 means 64 MiB.
	PieceBytes int64
}

// Permit says what may be archived.
type Permit struct {
	// Set are transactions that cannot be lost any more: they are on a write quorum. Others wait, so that the archive never holds what the
	// cluster does not.
	Set gtid.Set
	// Purged are those of them that the instance's binary log does not hold (gtid_purged). Its files do not tell: what a copy has brought was
	// never in any.
	Purged gtid.Set
	// At is a moment, before which clients were told of no commit that is not in Set.
	At time.Time
}

// Result says what a step did, and what is left.
type Result struct {
	// Pieces is how many were stored, Bytes what they hold, unpacked.
	Pieces int
	Bytes  int64
	// Archived is what the archive holds now, or need not.
	Archived gtid.Set
	// Waiting is when the oldest transaction was committed that is in the binary log and not archived; zero if there is none.
	Waiting time.Time
	// Missing is what neither the archive, nor this instance's binary log, nor a full backup holds, although it was executed.
	Missing gtid.Set
}

// Archive is one archiver's view of the archive. It is good until an error: then what the store holds has to be looked at again, by Open.
// It is not safe for concurrent use.
type Archive struct {
	opts Options
	done gtid.Set
	// begun: done is where the archive begins or goes on. Before, it begins with the oldest file there is.
	begun bool
	next  uint64
	mark  backup.Mark
	// lost is what neither a piece nor the binary log holds; missing is what of it the full backup does not hold that holds the most of it.
	lost, missing gtid.Set
	// fulls are what the full backups hold that were stored when it was opened, oldest first.
	fulls []gtid.Set
	// at is where the search goes on, nil for a new one.
	at *position
}

// Open looks at what is stored, and returns an archive that goes on there.
func Open(ctx context.Context, o Options) (*Archive, error) {
	if o.PieceBytes == 0 {
		o.PieceBytes = pieceBytes
	}
	catalog, err := backup.Load(ctx, o.Store, o.Cluster)
	if err != nil {
		return nil, fmt.Errorf("look at the archive: %w", err)
	}
	a := &Archive{opts: o, next: catalog.Next(), mark: catalog.Mark}
	a.done, a.begun = catalog.Done()
	for _, f := range catalog.Fulls {
		a.fulls = append(a.fulls, f.Holds)
	}
	return a, nil
}

// Complete returns the newest moment that the archive is known to be complete up to; zero if none is known.
func (a *Archive) Complete() time.Time { return a.mark.At }

// Step archives what may be archived and is not. It returns what was done also with an error.
func (a *Archive) Step(ctx context.Context, permit Permit) (Result, error) {
	var result Result
	if err := a.seek(permit.Purged); err != nil {
		return result, err
	}
	result.Missing = a.missing
	for {
		stretch, err := a.at.next(a.done, permit.Set, a.opts.PieceBytes)
		if err != nil {
			return result, err
		}
		if stretch.holds.Count() > 0 {
			if err := a.store(ctx, stretch, &result); err != nil {
				return result, err
			}
		}
		switch stretch.end {
		case more:
		case fileEnds:
			following, err := a.at.following(a.opts.DataDir)
			if err != nil {
				return result, err
			}
			if following == nil {
				// Whatever may be archived was in the log when the permit was given. What was not found now is not there.
				if lost := permit.Set.Subtract(a.done).Subtract(a.missing); !lost.IsEmpty() {
					a.miss(a.lost.Union(lost))
					result.Missing = a.missing
				}
				return a.finish(ctx, permit, result)
			}
			a.at = following
		case waits:
			result.Waiting = stretch.waiting
			return a.finish(ctx, permit, result)
		}
	}
}

// seek finds the place to begin at: the newest file before which everything is archived.
func (a *Archive) seek(purged gtid.Set) error {
	if a.at != nil {
		return nil
	}
	files, err := newestFirst(a.opts.DataDir)
	if err != nil {
		return err
	}
	for i, file := range files {
		p, err := begin(file, purged)
		if err != nil {
			return err
		}
		oldest := i == len(files)-1
		if oldest && !a.begun {
			a.done, a.begun = p.previous, true
		}
		if oldest {
			a.miss(p.previous.Subtract(a.done))
		}
		if oldest || a.begun && a.done.Contains(p.previous) {
			a.at = p
			return nil
		}
	}
	return errors.New("the binary log has no file")
}

// miss takes note of transactions that are neither stored nor in the binary log. What one full backup holds of them counts as done: whatever is
// restored from there on needs them no more. Two that hold a part each close no gap. What can be archived is none of this, whoever holds it.
func (a *Archive) miss(lost gtid.Set) {
	a.lost, a.missing = lost, lost
	for _, held := range slices.Backward(a.fulls) {
		if left := lost.Subtract(held); left.Count() < a.missing.Count() {
			a.missing = left
		}
	}
	a.done = a.done.Union(lost.Subtract(a.missing))
}

// store stores a stretch as a piece, and its manifest after it.
func (a *Archive) store(ctx context.Context, s stretch, result *Result) error {
	holds, err := s.holds.Set()
	if err != nil {
		return fmt.Errorf("read the binary log: %w", err)
	}
	piece := backup.Piece{
		Number: a.next, Epoch: a.opts.Epoch, Instance: a.opts.Instance, After: s.after, Holds: holds, Oldest: s.oldest, Newest: s.newest,
		Sealed: len(a.opts.Recipients) > 0,
	}
	key := piece.Key(a.opts.Cluster)
	body := pack(s, a.opts.Recipients)
	piece.Digest, err = objectstore.Save(ctx, a.opts.Store, key, body.reader)
	if bytes, packed := body.finish(err); err == nil {
		piece.Bytes, err = bytes, packed
	}
	if err != nil {
		return fmt.Errorf("archive %d transactions: %w", s.holds.Count(), err)
	}
	manifest, err := backup.Encode(piece)
	if err != nil {
		return err
	}
	if _, err := objectstore.Save(ctx, a.opts.Store, key+".json", strings.NewReader(string(manifest))); err != nil {
		return fmt.Errorf("archive %d transactions: %w", s.holds.Count(), err)
	}
	a.next++
	a.done = a.done.Union(holds)
	result.Pieces++
	result.Bytes += piece.Bytes
	return nil
}

// finish notes that the archive is complete, if it is.
func (a *Archive) finish(ctx context.Context, permit Permit, result Result) (Result, error) {
	result.Archived = a.done
	if !a.missing.IsEmpty() || !a.done.Contains(permit.Set) || !permit.At.After(a.mark.At) {
		return result, nil
	}
	mark := backup.Mark{At: permit.At, Archived: a.done}
	raw, err := backup.Encode(mark)
	if err != nil {
		return result, err
	}
	if _, err := objectstore.Save(ctx, a.opts.Store, backup.MarkKey(a.opts.Cluster), strings.NewReader(string(raw))); err != nil {
		return result, fmt.Errorf("note how far the archive reaches: %w", err)
	}
	a.mark = mark
	return result, nil
}
