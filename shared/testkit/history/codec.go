package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Encoder writes operations as JSON lines. It is safe for concurrent use.
type Encoder struct {
	mu sync.Mutex
	w  io.Writer
}

// NewEncoder returns an encoder that gives each operation to the writer at once and whole: what was written before a process
// dies can be read.
func NewEncoder(w io.Writer) *Encoder { return &Encoder{w: w} }

// Encode writes one operation, which must be valid.
func (e *Encoder) Encode(o Operation) error {
	if err := o.Validate(); err != nil {
		return fmt.Errorf("encode an operation: %w", err)
	}
	line, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode an operation: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err := e.w.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write an operation: %w", err)
	}
	return nil
}

// Write writes a history as JSON lines.
func Write(w io.Writer, ops []Operation) error {
	buffered := bufio.NewWriter(w)
	encoder := NewEncoder(buffered)
	for i, o := range ops {
		if err := encoder.Encode(o); err != nil {
			return fmt.Errorf("operation %d: %w", i, err)
		}
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("write operations: %w", err)
	}
	return nil
}

// Decoder reads operations from JSON lines of any length.
type Decoder struct {
	r    *bufio.Reader
	line int
}

// NewDecoder returns a decoder.
func NewDecoder(r io.Reader) *Decoder { return &Decoder{r: bufio.NewReaderSize(r, 1<<16)} }

// Decode returns the next operation, io.EOF after the last one, and an error that names the line if there is none in it. It
// can go on with the next line then.
func (d *Decoder) Decode() (Operation, error) {
	for {
		line, err := d.r.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return Operation{}, fmt.Errorf("line %d: %w", d.line+1, err)
		}
		if len(line) == 0 {
			return Operation{}, io.EOF
		}
		d.line++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		o, err := decode(line)
		if err != nil {
			return Operation{}, fmt.Errorf("line %d: %w", d.line, err)
		}
		return o, nil
	}
}

func decode(line []byte) (Operation, error) {
	var o Operation
	decoder := json.NewDecoder(bytes.NewReader(line))
	// A misspelt field would be a fact that nobody judges.
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&o); err != nil {
		return Operation{}, err
	}
	if rest := bytes.TrimSpace(line[decoder.InputOffset():]); len(rest) > 0 {
		return Operation{}, fmt.Errorf("something follows the operation: %.20q", rest)
	}
	return o, o.Validate()
}

// Read reads a history to its end. With an error that names the line it returns what stood before it: the last line of a
// process that was killed may be cut short.
func Read(r io.Reader) ([]Operation, error) {
	var ops []Operation
	decoder := NewDecoder(r)
	for {
		o, err := decoder.Decode()
		if errors.Is(err, io.EOF) {
			return ops, nil
		}
		if err != nil {
			return ops, err
		}
		ops = append(ops, o)
	}
}
