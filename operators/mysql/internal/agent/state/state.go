// Package state is what an agent must remember over a restart: its promises, and what its volume holds. It lies on the
// data volume beside the data, so that both live and die together.
package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/shared/agent"
)

// State is the content of the state file. Its methods return changed copies; Store.Save makes a copy durable.
type State struct {
	// Term and Promised are the highest leadership term and epoch ever accepted (I1, I11).
	Term     uint64 `json:"term"`
	Promised uint64 `json:"promised"`
	// Served is the last epoch in which this instance was opened for writing.
	Served uint64 `json:"served,omitempty"`
	// Recovered is the last served epoch whose end is settled: mysqld was started since, so that whatever waited for an
	// acknowledgement then may be committed by now, or it left the office drained. As long as it is lower than Served, what
	// waited is in the binary log and prepared, and nothing else.
	Recovered uint64 `json:"recovered,omitempty"`
	// Record is the newest record told.
	Record instance.Record `json:"record"`
	// Kept is true once the data are worth keeping: bootstrapped, cloned, or following. Only a volume without it may be
	// initialised again.
	Kept bool `json:"kept,omitempty"`
	// Restore is the restore that the data begin with, if they do. What is in their place is then what it brought back, or what took that one's place
	// in the life of the cluster; before the cluster has begun, nothing else is ever made there.
	Restore *Restore `json:"restore,omitempty"`
	// Clone is set while the data are being replaced.
	Clone *Clone `json:"clone,omitempty"`
	// Seed is a restore that stands in for a clone, until the data are replaced.
	Seed *Seed `json:"seed,omitempty"`
	// Cloned is set when the data were replaced, until another role than RoleClone is accepted.
	Cloned bool `json:"cloned,omitempty"`
	// Rejoin is the newest return as a follower after an epoch was served.
	Rejoin *Rejoin `json:"rejoin,omitempty"`
	// Channel is the source that the replication channel was set up for.
	Channel *Channel `json:"channel,omitempty"`
	// Config is the configuration in force. Proven is the newest one with which mysqld has come up: a configuration that
	// passes every check and still keeps it from starting gives way to that one.
	Config Config  `json:"config"`
	Proven *Config `json:"proven,omitempty"`
}

// Restore says of which cluster, and as of when. Where it is stored is left out: that may move.
type Restore struct {
	Cluster string `json:"cluster"`
	// Time, Through and Before are as in the duty.
	Time    string `json:"time,omitempty"`
	Through string `json:"through,omitempty"`
	Before  string `json:"before,omitempty"`
}

// Clone is a replacement of the data under way.
type Clone struct {
	// Source is the donor's name; SourceExecuted is what the result must hold at least.
	Source         string `json:"source"`
	SourceExecuted string `json:"sourceExecuted"`
	// Errant is what the volume held beyond that: the result must hold none of it.
	Errant string `json:"errant,omitempty"`
	// Archived says that what only this volume held is in an archive, so that the data may be overwritten.
	Archived bool `json:"archived"`
	// Begun says that CLONE was started: from here on the data folder may be half one thing and half another.
	Begun bool `json:"begun,omitempty"`
	// SetAside, if set, is the archive's folder into which the whole data folder is to be moved before anything else,
	// because errant transactions were in no log file any more.
	SetAside string `json:"setAside,omitempty"`
	// Seeded says that the data that were restored beside the present ones take their place; then SourceExecuted is what they hold. Begun is set too.
	Seeded bool `json:"seeded,omitempty"`
}

// Seed is a restore that stands in for a clone. What it restores is beside the data, and nothing of them is touched before it is whole.
type Seed struct {
	// Attempts is how many were begun.
	Attempts int `json:"attempts"`
	// Whole says that all of it is there, Holds what it holds, Plan in words from what.
	Whole bool   `json:"whole,omitempty"`
	Holds string `json:"holds,omitempty"`
	Plan  string `json:"plan,omitempty"`
	// Problem is why it is not tried any more, and ProblemReason its one-word name: CLONE is the way then.
	Problem       string `json:"problem,omitempty"`
	ProblemReason string `json:"problemReason,omitempty"`
}

// Rejoin is the return of a former primary without rebuilding. Each step is on the volume before the next one begins.
type Rejoin struct {
	// Phase is the last step that is on the volume.
	Phase Phase `json:"phase"`
	// Epoch, Source, ServerUUID and Holds are what the directive said.
	Epoch      uint64 `json:"epoch"`
	Source     string `json:"source"`
	ServerUUID string `json:"serverUUID"`
	Holds      string `json:"holds"`
	// File is the binary log's last file, Position where the removed tail began in it, Size how long it was.
	File     string `json:"file,omitempty"`
	Position int64  `json:"position,omitempty"`
	Size     int64  `json:"size,omitempty"`
	// Removed are the transactions of the tail, Archive is where they are kept.
	Removed string `json:"removed,omitempty"`
	Archive string `json:"archive,omitempty"`
	// Doubt says why the instance is not brought back this way.
	Doubt string `json:"doubt,omitempty"`
}

// Phase is a step of a return without rebuilding.
type Phase string

// The phases, in order.
const (
	// PhaseArchived: the tail is in an archive and is to be removed. mysqld is not started before it is.
	PhaseArchived Phase = "Archived"
	// PhaseRemoved: the tail is gone from the binary log; what mysqld comes up with is still to be checked.
	PhaseRemoved Phase = "Removed"
	// PhaseDone: mysqld has come up with nothing that the source does not hold.
	PhaseDone Phase = "Done"
	// PhaseDoubtful: nothing was removed, or not all that was removed was rolled back; CLONE is the way.
	PhaseDoubtful Phase = "Doubtful"
)

// Archived returns the transactions that the return has put into an archive; "" if none.
func (r *Rejoin) Archived() string {
	if r == nil || r.Archive == "" {
		return ""
	}
	return r.Removed
}

// Channel says whom the replication channel in mysqld's tables follows.
type Channel struct {
	// Epoch is the epoch in which it was set up.
	Epoch uint64 `json:"epoch"`
	// Source, Host, Port and ServerUUID say who it is.
	Source     string `json:"source"`
	Host       string `json:"host"`
	Port       int    `json:"port"`
	ServerUUID string `json:"serverUUID,omitempty"`
	// Secret is a hash of the sealed credential that was used: another one needs the channel set up again.
	Secret string `json:"secret"`
}

// Config is the part of the configuration that comes from directives.
type Config struct {
	// ServerID is mysqld's server_id; 0 until a directive named it.
	ServerID uint32 `json:"serverID,omitempty"`
	// Options is the user's part.
	Options map[string]string `json:"options,omitempty"`
	// BufferPoolBytes sizes the buffer pool; 0 leaves mysqld's default.
	BufferPoolBytes int64 `json:"bufferPoolBytes,omitempty"`
}

// Hash names the configuration as reports do.
func (c Config) Hash() string { return instance.ConfigHash(c.Options, c.BufferPoolBytes) }

// Store keeps a State in a file.
type Store struct{ path string }

// file is the state file's name inside the agent's folder on the volume.
const file = "state.json"

// Open prepares the agent's folder and reads the state. A volume that was never used gives the zero State; fresh is
// true then. A state file that cannot be read whole is an error: nothing may be promised anew over a lost promise.
func Open(dir string) (store *Store, s State, fresh bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, State{}, false, fmt.Errorf("make the agent's folder: %w", err)
	}
	store = &Store{path: filepath.Join(dir, file)}
	err = agent.LoadJSON(store.path, &s)
	if errors.Is(err, fs.ErrNotExist) {
		return store, State{}, true, nil
	}
	if err != nil {
		return nil, State{}, false, fmt.Errorf("read the agent's state: %w", err)
	}
	return store, s, false, nil
}

// Save makes s durable.
func (st *Store) Save(s State) error {
	if err := agent.SaveJSON(st.path, s); err != nil {
		return fmt.Errorf("save the agent's state: %w", err)
	}
	return nil
}

// Refusal says why a directive must not be accepted; "" if it may be.
func (s State) Refusal(d instance.Directive) string {
	switch {
	case d.Term < s.Term:
		return fmt.Sprintf("term %d is older than term %d, which was accepted before", d.Term, s.Term)
	case d.Epoch < s.Promised:
		return fmt.Sprintf("epoch %d is older than epoch %d, which was promised before", d.Epoch, s.Promised)
	}
	return ""
}

// Promise returns the state after accepting d. Promised says that it must be durable before d is obeyed; noted, that it
// is to be made durable soon: the record is the committed one, which this copy serves to find again if it is lost.
func (s State) Promise(d instance.Directive) (next State, promised, noted bool) {
	promised = d.Term != s.Term || d.Epoch != s.Promised
	s.Term, s.Promised = d.Term, d.Epoch
	if d.Record.Epoch >= s.Record.Epoch && !sameRecord(d.Record, s.Record) {
		s.Record = d.Record
		noted = true
	}
	return s, promised, noted
}
