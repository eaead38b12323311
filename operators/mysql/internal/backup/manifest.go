package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/shared/objectstore"
)

// Full is the manifest of a full backup.
type Full struct {
	// Name tells it from the other full backups of its cluster.
	Name string `json:"name"`
	// Instance is whose data it is a copy of.
	Instance string `json:"instance"`
	// Method is how it was made: clone or xtrabackup.
	Method string `json:"method"`
	// Version is that of the server, as the server says it.
	Version string `json:"version"`
	// Began and Finished are when it was made, by the clock of the instance.
	Began    time.Time `json:"began"`
	Finished time.Time `json:"finished"`
	// Holds is what it holds at least, and Within what it holds at most: the copy is as of a moment between two looks.
	Holds  gtid.Set `json:"holds"`
	Within gtid.Set `json:"within"`
	// Newest is no earlier than when the newest transaction in it was committed, by the clock of the primary that committed it.
	Newest time.Time `json:"newest"`
	// Bytes is the size of the copy, unpacked; by the method xtrabackup, that of the stream.
	Bytes int64 `json:"bytes"`
	// Sealed says that the parts are encrypted.
	Sealed bool `json:"sealed,omitempty"`
	// Parts are what it is stored in. By the method clone each can be unpacked without the others; by xtrabackup they are stretches of one stream.
	Parts []Part `json:"parts"`
	// Tables are the tables in it that are not the server's own, if the copy was proven before it was stored; Holds and Within are then the same. Only
	// a server of the same Version computes the same checksums. Readers of before there were any pass over them.
	Tables []Table `json:"tables,omitempty"`
}

// Table is what a table held.
type Table struct {
	Schema string `json:"schema"`
	Name   string `json:"name"`
	// Checksum is that of CHECKSUM TABLE.
	Checksum uint64 `json:"checksum"`
}

// Part is an object that holds files of a full backup.
type Part struct {
	// Number names it within the backup.
	Number int `json:"number"`
	// Digest is what is stored.
	objectstore.Digest
	// Files are the paths of the files and folders in it, relative to the data folder. That of a folder ends in a slash. There are none in a
	// stretch of a stream.
	Files []string `json:"files,omitempty"`
}

// Piece is the manifest of a stretch of the binary log.
type Piece struct {
	// Number orders the pieces; two archivers that did not know of each other may have used one twice.
	Number uint64 `json:"number"`
	// Epoch and Instance say who archived it.
	Epoch    uint64 `json:"epoch"`
	Instance string `json:"instance"`
	// After is what had been executed before the first transaction in it, and Holds what is in it.
	After gtid.Set `json:"after"`
	Holds gtid.Set `json:"holds"`
	// Oldest and Newest are the earliest and the latest time at which a transaction in it was committed, by the clock of the primary.
	Oldest time.Time `json:"oldest"`
	Newest time.Time `json:"newest"`
	// Bytes is its size, unpacked.
	Bytes int64 `json:"bytes"`
	// Sealed says that it is encrypted.
	Sealed bool `json:"sealed,omitempty"`
	// Digest is what is stored.
	objectstore.Digest
}

// Mark says up to when the archive is complete.
type Mark struct {
	// At is a moment at which everything that clients had been told is committed was archived, by the clock of the archiver.
	At time.Time `json:"at"`
	// Archived is what the archive held then.
	Archived gtid.Set `json:"archived"`
}

// format is the version of the manifests that this package writes, and the only one that it reads.
const format = 1

// envelope is how a manifest is stored: with what tells whether it is whole.
type envelope struct {
	Format   int             `json:"format"`
	SHA256   string          `json:"sha256"`
	Manifest json.RawMessage `json:"manifest"`
}

// ErrDamaged says that a manifest cannot be read, and why.
var ErrDamaged = errors.New("damaged manifest")

// Encode returns a Full, Piece or Mark as it is stored.
func Encode(manifest any) ([]byte, error) {
	raw, err := json.Marshal(manifest)
	if err != nil {
		return nil, fmt.Errorf("encode a manifest: %w", err)
	}
	sum := sha256.Sum256(raw)
	out, err := json.Marshal(envelope{Format: format, SHA256: hex.EncodeToString(sum[:]), Manifest: raw})
	if err != nil {
		return nil, fmt.Errorf("encode a manifest: %w", err)
	}
	return append(out, '\n'), nil
}

// Decode reads what Encode wrote. Its error is ErrDamaged if that is not what is there.
func Decode(stored []byte, manifest any) error {
	var e envelope
	if err := json.Unmarshal(stored, &e); err != nil {
		return fmt.Errorf("%w: it is not whole, or no manifest at all: %w", ErrDamaged, err)
	}
	if e.Format != format {
		return fmt.Errorf("%w: its format is %d, and this version reads %d: use the version of the operator that wrote it, or a later one", ErrDamaged, e.Format, format)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, e.Manifest); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if sum := sha256.Sum256(compact.Bytes()); hex.EncodeToString(sum[:]) != e.SHA256 {
		return fmt.Errorf("%w: its content does not match its checksum", ErrDamaged)
	}
	if err := json.Unmarshal(e.Manifest, manifest); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}
