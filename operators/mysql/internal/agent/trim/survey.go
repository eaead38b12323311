package trim

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	sets "github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
)

// index is the file that lists the binary log's files, oldest first.
const index = "binlog.index"

// Known says which transactions are part of the history that goes on.
type Known struct {
	// Own is the UUID of the server whose binary log it is. Only its own transactions can wait.
	Own string
	// Source is the UUID of the server that leads: whatever it generated it has.
	Source string
	// Holds is what the source holds besides.
	Holds sets.Set
}

func (k Known) has(server string, number uint64) bool {
	return server == k.Source || k.Holds.Holds(server, number)
}

// Tail is the end of a binary log that is to be removed.
type Tail struct {
	// File is the path of the log's last file, Size how long it is.
	File string
	Size int64
	// Preamble is where the first transaction of the file begins: before it stand the events that describe the file.
	Preamble int64
	// Position is where the tail begins. End is where its last whole transaction ends: what follows was never written whole.
	Position, End int64
	// Removed are the whole transactions of the tail.
	Removed sets.Set
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
	err = read(files[len(files)-1], func(r *reader) error {
		open, err = r.format()
		return err
	})
	return err != nil || open
}

// list returns the files of the binary log, oldest first.
func list(dataDir string) ([]string, error) {
	raw, err := os.ReadFile(filepath.Join(dataDir, index))
	if err != nil {
		return nil, &Doubt{"the index of the binary log cannot be read"}
	}
	var files []string
	for line := range strings.Lines(string(raw)) {
		name := filepath.Base(strings.TrimSpace(line))
		if !strings.HasPrefix(name, "binlog.") || !strings.HasSuffix(line, "\n") {
			return nil, &Doubt{"the index of the binary log is damaged"}
		}
		files = append(files, filepath.Join(dataDir, name))
	}
	if len(files) == 0 {
		return nil, &Doubt{"the binary log has no file"}
	}
	// What a rotation or purge leaves when it is cut short, and files that the index does not know (yet).
	present, err := filepath.Glob(filepath.Join(dataDir, "binlog.*"))
	if err != nil {
		return nil, fmt.Errorf("list the binary log: %w", err)
	}
	for _, path := range present {
		if filepath.Base(path) != index && !slices.Contains(files, path) {
			return nil, &Doubt{fmt.Sprintf("%s is not in the index of the binary log", filepath.Base(path))}
		}
	}
	return files, nil
}

// read opens a file of the log for reading.
func read(path string, do func(*reader) error) error {
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
	r, err := newReader(f, info.Size())
	if err == nil {
		err = do(r)
	}
	if doubt, ok := errors.AsType[*Doubt](err); ok {
		return &Doubt{filepath.Base(path) + ": " + doubt.Why}
	}
	return err
}

// surveyEarlier makes sure that the file before the last one holds nothing that is not known: the cut lies in one file.
func surveyEarlier(path string, known Known) error {
	return read(path, func(r *reader) error {
		r.namesOnly = true
		if _, err := r.format(); err != nil {
			return err
		}
		for {
			e, err := r.next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if errors.Is(err, errTorn) {
				return &Doubt{"it ends in the middle of an event, and another file follows"}
			}
			if err != nil {
				return err
			}
			switch e.typ {
			case typeGTID:
				id, err := readGTID(e)
				if err != nil {
					return err
				}
				if !known.has(id.server, id.number) {
					return &Doubt{"the tail begins before the last file of the binary log"}
				}
			case typeAnonymousGTID, typeTaggedGTID:
				return unnamed(e)
			default:
				// Before the last file only the names matter.
			}
		}
	})
}

func unnamed(e event) error {
	if e.typ == typeTaggedGTID {
		return &Doubt{fmt.Sprintf("there is a tagged transaction at %d", e.offset)}
	}
	return &Doubt{fmt.Sprintf("there is a transaction without GTID at %d", e.offset)}
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
	at   *gtid
	rows bool
	// torn: the file ends in the middle of an event.
	torn bool
	// removed collects the whole transactions of the tail, doubt is the first thing against removing it.
	removed runs
	doubt   *Doubt
}

// run reads the file. Errors are about the file as a whole; what stands against removing a tail is only noted, because
// there may be none.
func (s *survey) run(r *reader) error {
	var err error
	s.tail.Size = r.size
	if s.open, err = r.format(); err != nil {
		return err
	}
	if err := s.earlier(r); err != nil {
		return err
	}
	s.tail.Preamble = r.offset
	for {
		e, err := r.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errTorn):
			s.torn = true
			return nil
		case err != nil:
			return err
		}
		if err := s.event(e, r.offset); err != nil {
			return err
		}
	}
}

// earlier checks the list of all transactions in earlier files.
func (s *survey) earlier(r *reader) error {
	e, err := r.next()
	if doubt, ok := errors.AsType[*Doubt](err); ok {
		return doubt
	}
	if err != nil || e.typ != typePreviousGTIDs {
		return &Doubt{"the file does not begin with the transactions of earlier files"}
	}
	var earlier runs
	if !previous(e.body, earlier.add) {
		return &Doubt{"the transactions of earlier files are in a form that is not known"}
	}
	set, err := earlier.set()
	if err != nil {
		return err
	}
	if unknown := set.Without(s.known.Source).Subtract(s.known.Holds); !unknown.IsEmpty() {
		return &Doubt{fmt.Sprintf("earlier files hold transactions that are not known: %s", unknown)}
	}
	return nil
}

// event takes the next event into account; end is where it ends.
func (s *survey) event(e event, end int64) error {
	switch e.typ {
	case typeAnonymousGTID, typeTaggedGTID:
		return unnamed(e)
	case typeGTID:
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
func (s *survey) begin(e event) error {
	id, err := readGTID(e)
	if err != nil {
		return err
	}
	if s.tail.Position != 0 && s.at != nil {
		s.against("a transaction begins at %d before the one before has ended", e.offset)
	}
	s.at, s.rows = &id, false
	switch has := s.known.has(id.server, id.number); {
	case has && s.tail.Position != 0:
		s.against("%s:%d is known and stands behind transactions that are not", id.server, id.number)
	case has:
	case id.server != s.known.Own:
		s.against("%s:%d is not known and comes from another server", id.server, id.number)
	}
	if s.tail.Position == 0 && !s.known.has(id.server, id.number) {
		s.tail.Position, s.tail.End = e.offset, e.offset
	}
	return nil
}

// inTail asks of an event behind the cut that it is one which is known to be rolled back.
func (s *survey) inTail(e event, end int64) {
	if s.at == nil {
		s.against("an event of type %d at %d is outside of any transaction", e.typ, e.offset)
		return
	}
	switch e.typ {
	case typeTableMap, typeRowsQuery, typeWriteRows, typeUpdateRows, typeDeleteRows, typePartialRows:
		if !s.rows {
			s.against("rows at %d are outside of any transaction", e.offset)
		}
	case typeXID:
		if !s.rows {
			s.against("a commit at %d ends nothing", e.offset)
		}
		s.end(end)
	case typeQuery:
		s.query(e, end)
	case typePayload:
		s.against("the transaction %s:%d is compressed", s.at.server, s.at.number)
	case typeXAPrepare:
		s.against("%s:%d is part of an XA transaction", s.at.server, s.at.number)
	default:
		s.against("an event of type %d at %d is none that is known to be rolled back", e.typ, e.offset)
	}
}

// query takes a statement behind the cut into account.
func (s *survey) query(e event, end int64) {
	q, ok := readQuery(e.body)
	switch {
	case !ok:
		s.against("the statement at %d cannot be read", e.offset)
	case s.rows && !q.inTransaction():
		// Among others, a COMMIT in words: tables of an engine that cannot roll back.
		s.against("%s:%d holds a statement that is not known to be rolled back", s.at.server, s.at.number)
	case s.rows:
	case q.text == "BEGIN":
		s.rows = true
	case q.rollsBack():
		s.end(end)
	default:
		s.against("%s:%d is a statement that is not known to be rolled back", s.at.server, s.at.number)
	}
}

// end ends a transaction of the tail.
func (s *survey) end(end int64) {
	s.removed.add(s.at.server, s.at.number, s.at.number)
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
	s.tail.Removed, err = s.removed.set()
	if err != nil {
		return Tail{}, err
	}
	if s.removed.count != s.tail.Removed.Count() {
		return Tail{}, &Doubt{filepath.Base(s.tail.File) + ": a transaction occurs twice"}
	}
	return s.tail, nil
}

// runs collects transactions. Those that follow each other cost nothing.
type runs struct {
	text  strings.Builder
	gtid  gtid
	last  uint64
	count uint64
}

func (r *runs) add(server string, first, last uint64) {
	r.count += last - first + 1
	if r.last != 0 && r.gtid.server == server && first == r.last+1 {
		r.last = last
		return
	}
	r.flush()
	r.gtid, r.last = gtid{server, first}, last
}

func (r *runs) flush() {
	if r.last != 0 {
		_, _ = fmt.Fprintf(&r.text, "%s:%d-%d,", r.gtid.server, r.gtid.number, r.last)
	}
}

func (r *runs) set() (sets.Set, error) {
	r.flush()
	r.last = 0
	set, err := sets.Parse(r.text.String())
	if err != nil {
		return set, fmt.Errorf("read the binary log: %w", err)
	}
	return set, nil
}
