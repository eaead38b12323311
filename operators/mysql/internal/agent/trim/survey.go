package trim

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/kapok-operators/kapok/operators/mysql/internal/binlog"
	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
)

// Known says which transactions are part of the history that goes on.
type Known struct {
	// Own is the UUID of the server whose binary log it is. Only its own transactions can wait.
	Own string
	// Source is the UUID of the server that leads: whatever it generated it has.
	Source string
	// Holds is what the source holds besides.
	Holds gtid.Set
}

func (k Known) has(server string, number uint64) bool {
	return server == k.Source || k.Holds.Holds(server, number)
}

// Tail is the end of a binary log that is to be removed.
type Tail struct {
	// File is the path of the log's last file, Size how long it is.
	File string
	Size int64
	// Preamble is where the first transaction of the file begins: before it stand the binlog.Events that describe the file.
	Preamble int64
	// Position is where the tail begins. End is where its last whole transaction ends: what follows was never written whole.
	Position, End int64
	// Removed are the whole transactions of the tail.
	Removed gtid.Set
}

// IsEmpty says whether there is nothing to remove.
func (t Tail) IsEmpty() bool { return t.Removed.IsEmpty() }

// Survey looks for the transactions at the end of the binary log in a data folder that are not known. The error is a Doubt
// if there are any and they must not be removed, or if that cannot be told; nothing is ever changed.
func Survey(dataDir string, known Known) (Tail, error) {
	files, err := list(dataDir)
	if err != nil {
		return Tail{}, err
	}
	if len(files) > 1 {
		if err := surveyEarlier(files[len(files)-2], known); err != nil {
			return Tail{}, err
		}
	}
	return surveyLast(files[len(files)-1], known)
}

// InUse says whether the last file of the binary log was not closed: mysqld was killed, or runs. What cannot be read
// counts as that.
func InUse(dataDir string) bool {
	files, err := list(dataDir)
	if err != nil {
		return true
	}
	open := true
	err = read(files[len(files)-1], func(r *binlog.Reader) error {
		_, open, err = r.Format()
		return err
	})
	return err != nil || open
}

// list returns the files of the binary log, oldest first.
func list(dataDir string) ([]string, error) {
	files, err := binlog.Files(dataDir)
	if broken, ok := errors.AsType[*binlog.FormatError](err); ok {
		return nil, &Doubt{broken.Why}
	}
	if err != nil {
		return nil, &Doubt{"the index of the binary log cannot be read"}
	}
	// What a rotation or purge leaves when it is cut short, and files that the index does not know (yet).
	present, err := filepath.Glob(filepath.Join(dataDir, "binlog.*"))
	if err != nil {
		return nil, fmt.Errorf("list the binary log: %w", err)
	}
	for _, path := range present {
		if filepath.Base(path) != binlog.Index && !slices.Contains(files, path) {
			return nil, &Doubt{fmt.Sprintf("%s is not in the index of the binary log", filepath.Base(path))}
		}
	}
	return files, nil
}

// read opens a file of the log for reading.
func read(path string, do func(*binlog.Reader) error) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Doubt{filepath.Base(path) + " is in the index of the binary log and does not exist"}
	}
	if err != nil {
		return fmt.Errorf("open the binary log: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at the binary log: %w", err)
	}
	r, err := binlog.NewReader(f, info.Size())
	if err == nil {
		err = do(r)
	}
	if doubt, ok := errors.AsType[*Doubt](doubtful(err)); ok {
		return &Doubt{filepath.Base(path) + ": " + doubt.Why}
	}
	return err
}

// doubtful makes a doubt of a file that is in no known form.
func doubtful(err error) error {
	if broken, ok := errors.AsType[*binlog.FormatError](err); ok {
		return &Doubt{broken.Why}
	}
	return err
}

// surveyEarlier makes sure that the file before the last one holds nothing that is not known: the cut lies in one file.
func surveyEarlier(path string, known Known) error {
	return read(path, func(r *binlog.Reader) error {
		r.NamesOnly = true
		if _, _, err := r.Format(); err != nil {
			return err
		}
		for {
			e, err := r.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if errors.Is(err, binlog.ErrTorn) {
				return &Doubt{"it ends in the middle of an event, and another file follows"}
			}
			if err != nil {
				return err
			}
			switch e.Type {
			case binlog.GTID:
				id, err := binlog.Begin(e)
				if err != nil {
					return err
				}
				if !known.has(id.Server, id.Number) {
					return &Doubt{"the tail begins before the last file of the binary log"}
				}
			case binlog.AnonymousGTID, binlog.TaggedGTID:
				return unnamed(e)
			default:
				// Before the last file only the names matter.
			}
		}
	})
}

func unnamed(e binlog.Event) error {
	if e.Type == binlog.TaggedGTID {
		return &Doubt{fmt.Sprintf("there is a tagged transaction at %d", e.Offset)}
	}
	return &Doubt{fmt.Sprintf("there is a transaction without GTID at %d", e.Offset)}
}

// surveyLast looks for the tail in the last file.
func surveyLast(path string, known Known) (Tail, error) {
	s := survey{known: known, tail: Tail{File: path}}
	err := read(path, s.run)
	if err != nil {
		return Tail{}, err
	}
	return s.result()
}

// survey is one pass over the last file.
type survey struct {
	known Known
	tail  Tail
	// open: the file was not closed.
	open bool
	// at is the transaction under way; nil between two of them. rows: it has begun as one of rows.
	at   *binlog.Transaction
	rows bool
	// torn: the file ends in the middle of an event.
	torn bool
	// removed collects the whole transactions of the tail, doubt is the first thing against removing it.
	removed gtid.Builder
	doubt   *Doubt
}

// run reads the file. Errors are about the file as a whole; what stands against removing a tail is only noted, because
// there may be none.
func (s *survey) run(r *binlog.Reader) error {
	var err error
	s.tail.Size = r.Size()
	if _, s.open, err = r.Format(); err != nil {
		return err
	}
	if err := s.earlier(r); err != nil {
		return err
	}
	s.tail.Preamble = r.Offset()
	for {
		e, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, binlog.ErrTorn):
			s.torn = true
			return nil
		case err != nil:
			return err
		}
		if err := s.event(e, r.Offset()); err != nil {
			return err
		}
	}
}

// earlier checks the list of all transactions in earlier files.
func (s *survey) earlier(r *binlog.Reader) error {
	e, err := r.Next()
	if broken, ok := errors.AsType[*binlog.FormatError](err); ok {
		return broken
	}
	if err != nil || e.Type != binlog.PreviousGTIDs {
		return &Doubt{"the file does not begin with the transactions of earlier files"}
	}
	set, err := binlog.Previous(e)
	if err != nil {
		return err
	}
	if set.HasTags() {
		return &Doubt{"earlier files hold tagged transactions"}
	}
	if unknown := set.Without(s.known.Source).Subtract(s.known.Holds); !unknown.IsEmpty() {
		return &Doubt{fmt.Sprintf("earlier files hold transactions that are not known: %s", unknown)}
	}
	return nil
}

// event takes the next event into account; end is where it ends.
func (s *survey) event(e binlog.Event, end int64) error {
	switch e.Type {
	case binlog.AnonymousGTID, binlog.TaggedGTID:
		return unnamed(e)
	case binlog.GTID:
		return s.begin(e)
	default:
		if s.tail.Position == 0 {
			// Before the tail only the names matter.
			s.at = nil
			return nil
		}
		s.inTail(e, end)
		return nil
	}
}

// begin takes the beginning of a transaction into account.
func (s *survey) begin(e binlog.Event) error {
	id, err := binlog.Begin(e)
	if err != nil {
		return err
	}
	if s.tail.Position != 0 && s.at != nil {
		s.against("a transaction begins at %d before the one before has ended", e.Offset)
	}
	s.at, s.rows = &id, false
	switch has := s.known.has(id.Server, id.Number); {
	case has && s.tail.Position != 0:
		s.against("%s:%d is known and stands behind transactions that are not", id.Server, id.Number)
	case has:
	case id.Server != s.known.Own:
		s.against("%s:%d is not known and comes from another server", id.Server, id.Number)
	}
	if s.tail.Position == 0 && !s.known.has(id.Server, id.Number) {
		s.tail.Position, s.tail.End = e.Offset, e.Offset
	}
	return nil
}

// inTail asks of an event behind the cut that it is one which is known to be rolled back.
func (s *survey) inTail(e binlog.Event, end int64) {
	if s.at == nil {
		s.against("an event of type %d at %d is outside of any transaction", e.Type, e.Offset)
		return
	}
	switch e.Type {
	case binlog.TableMap, binlog.RowsQuery, binlog.WriteRows, binlog.UpdateRows, binlog.DeleteRows, binlog.PartialRows:
		if !s.rows {
			s.against("rows at %d are outside of any transaction", e.Offset)
		}
	case binlog.XID:
		if !s.rows {
			s.against("a commit at %d ends nothing", e.Offset)
		}
		s.end(end)
	case binlog.Query:
		s.query(e, end)
	case binlog.Payload:
		s.against("the transaction %s:%d is compressed", s.at.Server, s.at.Number)
	case binlog.XAPrepare:
		s.against("%s:%d is part of an XA transaction", s.at.Server, s.at.Number)
	default:
		s.against("an event of type %d at %d is none that is known to be rolled back", e.Type, e.Offset)
	}
}

// query takes a statement behind the cut into account.
func (s *survey) query(e binlog.Event, end int64) {
	q, ok := readQuery(e.Body)
	switch {
	case !ok:
		s.against("the statement at %d cannot be read", e.Offset)
	case s.rows && !q.inTransaction():
		// Among others, a COMMIT in words: tables of an engine that cannot roll back.
		s.against("%s:%d holds a statement that is not known to be rolled back", s.at.Server, s.at.Number)
	case s.rows:
	case q.text == "BEGIN":
		s.rows = true
	case q.rollsBack():
		s.end(end)
	default:
		s.against("%s:%d is a statement that is not known to be rolled back", s.at.Server, s.at.Number)
	}
}

// end ends a transaction of the tail.
func (s *survey) end(end int64) {
	s.removed.Add(s.at.Server, s.at.Tag, s.at.Number, s.at.Number)
	s.tail.End, s.at, s.rows = end, nil, false
}

func (s *survey) against(format string, args ...any) {
	if s.doubt == nil {
		s.doubt = &Doubt{fmt.Sprintf(format, args...)}
	}
}

// result says what is to be removed.
func (s *survey) result() (Tail, error) {
	if s.tail.Position == 0 {
		// All is known; a torn end is mysqld's own business.
		return Tail{}, nil
	}
	if s.at != nil && !s.torn {
		s.against("the last transaction has no end, and the file does not end within an event")
	}
	if !s.open {
		s.against("the file was closed properly, so that nothing can be waiting in it")
	}
	if s.doubt != nil {
		return Tail{}, &Doubt{filepath.Base(s.tail.File) + ": " + s.doubt.Why}
	}
	var err error
	s.tail.Removed, err = s.removed.Set()
	if err != nil {
		return Tail{}, fmt.Errorf("read the binary log: %w", err)
	}
	if s.removed.Count() != s.tail.Removed.Count() {
		return Tail{}, &Doubt{filepath.Base(s.tail.File) + ": a transaction occurs twice"}
	}
	return s.tail, nil
}
