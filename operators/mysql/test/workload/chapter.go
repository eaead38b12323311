package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kapok-operators/kapok/shared/testkit/history"
)

// chapter is the part of a recording that belongs to one disturbance. Every operation is in its file before it is sent
// and again when it has ended, so that a process that is killed leaves what it knew.
type chapter struct {
	name string

	mu     sync.Mutex
	file   *os.File
	next   int64
	errors map[string]int
	// broken is the first failure to write: from then on the recording is worth nothing.
	broken error
	// acknowledged is when the newest write was invoked that was acknowledged.
	acknowledged atomic.Int64
}

// entry is a line of a chapter's file.
type entry struct {
	// ID is the operation's number in the file; the last line of an ID counts.
	ID int64 `json:"id"`
	history.Operation
}

// chapterFileName names the file of one process. Files of one chapter have a common beginning.
func chapterFileName(folder, name string, boot int) string {
	return filepath.Join(folder, fmt.Sprintf("%s.%d.jsonl", name, boot))
}

// openChapter makes a chapter's file. A process that takes up a recording has one of its own.
func openChapter(folder, name string, boot int) (*chapter, error) {
	file, err := os.OpenFile(chapterFileName(folder, name, boot), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("begin chapter %s: %w", name, err)
	}
	return &chapter{name: name, file: file, errors: map[string]int{}}, nil
}

// begin notes that an operation is about to be sent.
func (c *chapter) begin(op history.Operation) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	return c.next, c.write(entry{ID: c.next, Operation: op})
}

// end notes how an operation ended.
func (c *chapter) end(id int64, op history.Operation) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if op.Outcome == history.Acknowledged && op.Kind != history.KindReadList && op.Kind != history.KindReadRegister {
		c.acknowledged.Store(max(c.acknowledged.Load(), int64(op.Invoked)))
	}
	return c.write(entry{ID: id, Operation: op})
}

func (c *chapter) write(e entry) error {
	if c.broken != nil {
		return c.broken
	}
	line, err := json.Marshal(e)
	if err == nil {
		_, err = c.file.Write(append(line, '\n'))
	}
	if err != nil {
		c.broken = fmt.Errorf("write chapter %s: %w", c.name, err)
	}
	return c.broken
}

// note counts an error by its message.
func (c *chapter) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	message := err.Error()
	if _, known := c.errors[message]; !known && len(c.errors) >= maxErrors {
		message = "other"
	}
	c.errors[message]++
}

// noted returns the errors by message, and why the recording is worth nothing if it is.
func (c *chapter) noted() (map[string]int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.errors), c.broken
}

// lastAcknowledged is when the newest acknowledged write was invoked.
func (c *chapter) lastAcknowledged() time.Duration { return time.Duration(c.acknowledged.Load()) }

func (c *chapter) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := errors.Join(c.broken, c.file.Close()); err != nil {
		return fmt.Errorf("end chapter %s: %w", c.name, err)
	}
	return nil
}

// readChapter returns the operations of a chapter, of all processes that recorded it, in the order of their beginning.
func readChapter(folder, name string) ([]history.Operation, error) {
	files, err := filepath.Glob(filepath.Join(folder, name+".*.jsonl"))
	if err != nil {
		return nil, fmt.Errorf("find chapter %s: %w", name, err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("chapter %s was not recorded here", name)
	}
	var all []history.Operation
	for _, path := range files {
		ops, err := readChapterFile(path)
		if err != nil {
			return nil, fmt.Errorf("read chapter %s: %w", name, err)
		}
		all = append(all, ops...)
	}
	slices.SortStableFunc(all, func(a, b history.Operation) int { return int(a.Invoked - b.Invoked) })
	return all, nil
}

func readChapterFile(path string) ([]history.Operation, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	newest := map[int64]history.Operation{}
	reader := bufio.NewReader(file)
	for {
		line, err := reader.ReadString('\n')
		if errors.Is(err, io.EOF) {
			// The last line of a process that was killed may be cut short. It tells of an operation that ended, at most.
			break
		}
		if err != nil {
			return nil, err
		}
		var e entry
		if err := json.Unmarshal([]byte(strings.TrimSpace(line)), &e); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
		}
		newest[e.ID] = e.Operation
	}
	ops := make([]history.Operation, 0, len(newest))
	for _, id := range slices.Sorted(maps.Keys(newest)) {
		ops = append(ops, newest[id])
	}
	return ops, nil
}
