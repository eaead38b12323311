package archive

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"filippo.io/age"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/parcel"
	"github.com/kapok-operators/kapok/operators/mysql/internal/binlog"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
)

// newestFirst returns the files of the binary log.
func newestFirst(dataDir string) ([]string, error) {
	files, err := binlog.Files(dataDir)
	if err != nil {
		return nil, fmt.Errorf("read the binary log: %w", err)
	}
	slices.Reverse(files)
	return files, nil
}

// position is a place in the binary log, between two transactions.
type position struct {
	path   string
	offset int64
	// preamble is what a piece from this file begins with: the events that describe it.
	preamble []byte
	// purged is what was executed and is in no file any more, or never was, as what CLONE has brought: then no file names it either. previous
	// is that and what earlier files hold; before is that and what this file holds before the place.
	purged, previous gtid.Set
	before           gtid.Builder
}

// read opens a file.
func read(path string, do func(f *os.File, size int64) error) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the binary log: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at the binary log: %w", err)
	}
	if err := do(f, info.Size()); err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	return nil
}

// notClosed is the byte of a file's first event, and the bit in it, that says that the file was not closed. It is not in the checksum.
const (
	notClosedAt = 17
	notClosed   = 1
)

// begin returns the place before the first transaction of a file.
func begin(path string, purged gtid.Set) (*position, error) {
	p := &position{path: path, preamble: []byte(binlog.Magic), purged: purged}
	err := read(path, func(f *os.File, size int64) error {
		r, err := binlog.NewReader(f, size)
		if err != nil {
			return err
		}
		e, _, err := r.Format()
		if err != nil {
			return err
		}
		p.preamble = append(p.preamble, e.Raw...)
		p.preamble[len(binlog.Magic)+notClosedAt] &^= notClosed
		if e, err = r.Next(); err != nil {
			return fmt.Errorf("it does not say which transactions came before: %w", err)
		}
		p.preamble = append(p.preamble, e.Raw...)
		if p.previous, err = binlog.Previous(e); err != nil {
			return err
		}
		p.offset = r.Offset()
		return nil
	})
	if err != nil {
		return nil, err
	}
	p.previous = p.previous.Union(purged)
	p.before.AddSet(p.previous)
	return p, nil
}

// following returns the beginning of the next file, or nil if this is the last one.
func (p *position) following(dataDir string) (*position, error) {
	files, err := binlog.Files(dataDir)
	if err != nil {
		return nil, fmt.Errorf("read the binary log: %w", err)
	}
	at := slices.Index(files, p.path)
	switch {
	case at < 0:
		return nil, fmt.Errorf("%s was purged while it was being archived", filepath.Base(p.path))
	case at == len(files)-1:
		return nil, nil
	}
	return begin(files[at+1], p.purged)
}

// ending says why a stretch ends where it does.
type ending int

const (
	// more: it is large enough, or what follows is archived already.
	more ending = iota
	// fileEnds: there is nothing more in the file.
	fileEnds
	// waits: the next transaction may not be archived yet.
	waits
)

// stretch are transactions that follow each other in one file and are not archived.
type stretch struct {
	path     string
	preamble []byte
	// from and to are where it begins and ends.
	from, to int64
	after    gtid.Set
	holds    gtid.Builder
	oldest   time.Time
	newest   time.Time
	end      ending
	// waiting is when the transaction was committed that may not be archived yet.
	waiting time.Time
}

// next looks for the next stretch, and moves behind it. One of no transactions means that there is none before its end.
func (p *position) next(done, permitted gtid.Set, limit int64) (stretch, error) {
	s := stretch{path: p.path, preamble: p.preamble, from: p.offset, to: p.offset}
	err := read(p.path, func(f *os.File, size int64) error {
		r := binlog.Resume(f, p.offset, size)
		r.NamesOnly = true
		for {
			e, err := r.Next()
			if errors.Is(err, io.EOF) || errors.Is(err, binlog.ErrTorn) {
				s.end = fileEnds
				return nil
			}
			if err != nil {
				return err
			}
			switch e.Type {
			case binlog.GTID, binlog.TaggedGTID:
			case binlog.AnonymousGTID:
				return fmt.Errorf("there is a transaction without a name at %d", e.Offset)
			default:
				// The end of the file, or part of a transaction that was looked at.
				continue
			}
			tr, err := binlog.Begin(e)
			if err != nil {
				return err
			}
			if end, stop := p.take(&s, e.Offset, size, tr, done, permitted, limit); stop {
				s.end = end
				return nil
			}
		}
	})
	return s, err
}

// take takes a transaction into a stretch, or says why the stretch ends before it.
func (p *position) take(s *stretch, offset, size int64, tr binlog.Transaction, done, permitted gtid.Set, limit int64) (end ending, stop bool) {
	to := offset + tr.Length
	begun := s.holds.Count() > 0
	switch {
	case done.HoldsTagged(tr.Server, tr.Tag, tr.Number):
		if begun {
			return more, true
		}
		p.move(to, tr)
		return 0, false
	case !permitted.HoldsTagged(tr.Server, tr.Tag, tr.Number) || tr.Length <= 0 || to > size:
		s.waiting = tr.Committed
		return waits, true
	case begun && to-s.from > limit:
		return more, true
	}
	if !begun {
		s.from = offset
		// What has no name cannot be in a builder.
		s.after, _ = p.before.Set()
		s.oldest, s.newest = tr.Committed, tr.Committed
	}
	s.to = to
	s.holds.Add(tr.Server, tr.Tag, tr.Number, tr.Number)
	if tr.Committed.Before(s.oldest) {
		s.oldest = tr.Committed
	}
	if tr.Committed.After(s.newest) {
		s.newest = tr.Committed
	}
	p.move(to, tr)
	return 0, false
}

// move moves behind a transaction.
func (p *position) move(to int64, tr binlog.Transaction) {
	p.offset = to
	p.before.Add(tr.Server, tr.Tag, tr.Number, tr.Number)
}

// packing is a stretch that is being packed while it is read.
type packing struct {
	reader *io.PipeReader
	done   chan struct{}
	bytes  int64
	err    error
}

// pack begins to pack a stretch.
func pack(s stretch, recipients []age.Recipient) *packing {
	in, out := io.Pipe()
	p := &packing{reader: in, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.bytes, p.err = s.write(out, recipients)
		// It is only an error if it is given one, and the other end learns it.
		_ = out.CloseWithError(p.err)
	}()
	return p
}

// finish ends packing, after the other end has been read or has failed, and returns how much was packed.
func (p *packing) finish(err error) (int64, error) {
	_ = p.reader.CloseWithError(err)
	<-p.done
	return p.bytes, p.err
}

// write writes a stretch as a file of its own, in a parcel, event by event: what does not match its checksum is not archived.
func (s stretch) write(out io.Writer, recipients []age.Recipient) (n int64, err error) {
	w, err := parcel.Pack(out, recipients)
	if err != nil {
		return 0, err
	}
	if _, err := w.Write(s.preamble); err != nil {
		return 0, fmt.Errorf("pack: %w", err)
	}
	n = int64(len(s.preamble))
	err = read(s.path, func(f *os.File, _ int64) error {
		r := binlog.Resume(f, s.from, s.to)
		for {
			e, err := r.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if _, err := w.Write(e.Raw); err != nil {
				return fmt.Errorf("pack: %w", err)
			}
			n += e.Size
		}
	})
	if err != nil {
		return 0, err
	}
	return n, w.Close()
}
