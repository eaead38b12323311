// Package gotest turns the event stream of `go test -json` into lines that people can follow and counts that can be
// added up over several runs.
package gotest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Counts are the tests of one lane. Subtests count, for they are the behaviours; a package that does not build or
// whose process dies counts as one failure.
type Counts struct {
	Lane    string   `json:"lane"`
	Passed  int      `json:"passed"`
	Failed  int      `json:"failed"`
	Skipped int      `json:"skipped"`
	Failing []string `json:"failing,omitempty"`
}

// event is one line of `go test -json`.
type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Output      string
	Elapsed     float64
	FailedBuild string
}

// Options say how a stream is read.
type Options struct {
	// Follow prints each test as it begins, and what it says at once, whether it fails in the end or not.
	Follow bool
	// Whole counts a test that was skipped as failed: nothing is to be missing where the run is made.
	Whole bool
}

// Tally reads the stream to its end. It prints each package as it ends, and the output of every failing test.
func Tally(lane string, o Options, in io.Reader, out io.Writer) (Counts, error) {
	t := tallier{counts: Counts{Lane: lane}, out: out, Options: o, output: map[string][]string{}, failedIn: map[string]bool{}}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Action == "" {
			fmt.Fprintln(out, lines.Text()) // Not an event: what the go command says beside them.
			continue
		}
		t.take(e)
	}
	if err := lines.Err(); err != nil {
		return t.counts, fmt.Errorf("read the test events: %w", err)
	}
	return t.counts, nil
}

// slow is the time in seconds from which a passing test is named.
const slow = 2

type tallier struct {
	counts Counts
	out    io.Writer
	Options
	output   map[string][]string
	failedIn map[string]bool
}

func (t *tallier) take(e event) {
	key := e.Package + "\x00" + e.Test
	switch e.Action {
	case "output", "build-output":
		if e.ImportPath != "" {
			key = e.ImportPath
		}
		if t.Follow && e.ImportPath == "" {
			t.pass(e.Output)
			return
		}
		t.output[key] = append(t.output[key], e.Output)
	case "run":
		if t.Follow && !strings.Contains(e.Test, "/") {
			fmt.Fprintf(t.out, "  run   %s\n", e.Test)
		}
	case "pass", "fail", "skip":
		if e.Test == "" {
			t.endPackage(e)
			return
		}
		t.endTest(e, key)
	}
}

func (t *tallier) endTest(e event, key string) {
	switch e.Action {
	case "pass":
		t.counts.Passed++
		// What takes its time is worth a line; the thousands of others are not.
		if e.Elapsed >= slow && !strings.Contains(e.Test, "/") {
			fmt.Fprintf(t.out, "  pass  %s (%.1fs)\n", e.Test, e.Elapsed)
		}
	case "skip":
		t.counts.Skipped++
		if t.Whole {
			t.counts.Failed++
			t.counts.Failing = append(t.counts.Failing, e.Package+" "+e.Test+" (skipped)")
		}
		fmt.Fprintf(t.out, "  skip  %s %s\n", e.Package, e.Test)
	case "fail":
		t.counts.Failed++
		t.counts.Failing = append(t.counts.Failing, e.Package+" "+e.Test)
		t.failedIn[e.Package] = true
		fmt.Fprintf(t.out, "  FAIL  %s %s (%.1fs)\n", e.Package, e.Test, e.Elapsed)
		t.print(key)
	}
	delete(t.output, key)
}

func (t *tallier) endPackage(e event) {
	switch {
	case e.Action == "skip": // No test files.
	case e.Action == "pass":
		fmt.Fprintf(t.out, "  ok    %s (%.1fs)\n", e.Package, e.Elapsed)
	case !t.failedIn[e.Package]:
		t.counts.Failed++
		t.counts.Failing = append(t.counts.Failing, e.Package)
		fmt.Fprintf(t.out, "  FAIL  %s: the package did not build or its process died\n", e.Package)
		t.print(e.FailedBuild)
		t.printAll(e.Package)
	default:
		fmt.Fprintf(t.out, "  FAIL  %s (%.1fs)\n", e.Package, e.Elapsed)
	}
	for key := range t.output {
		if strings.HasPrefix(key, e.Package+"\x00") {
			delete(t.output, key)
		}
	}
}

// pass passes on what a test says, without the lines in which the go command says how it went.
func (t *tallier) pass(line string) {
	text := strings.TrimSpace(line)
	for _, frame := range []string{"=== ", "--- ", "PASS", "FAIL", "ok  \t"} {
		if strings.HasPrefix(text, frame) {
			return
		}
	}
	fmt.Fprint(t.out, "        ", line)
}

func (t *tallier) print(key string) {
	for _, line := range t.output[key] {
		fmt.Fprint(t.out, "        ", line)
	}
}

// printAll prints what the package and its unfinished tests said last, which is where a panic or a timeout stands.
func (t *tallier) printAll(pkg string) {
	var keys []string
	for key := range t.output {
		if strings.HasPrefix(key, pkg+"\x00") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		t.print(key)
	}
}

// Write keeps the counts in a file.
func Write(path string, counts Counts) error {
	data, err := json.MarshalIndent(counts, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the counts: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make the folder of the counts: %w", err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the counts: %w", err)
	}
	return nil
}

// Read returns the counts of every lane in a folder; a folder that does not exist holds none.
func Read(folder string) ([]Counts, error) {
	names, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("list the counts: %w", err)
	}
	var lanes []Counts
	for _, name := range names {
		data, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the counts: %w", err)
		}
		var counts Counts
		if err := json.Unmarshal(data, &counts); err != nil {
			return nil, fmt.Errorf("decode %s: %w", name, err)
		}
		lanes = append(lanes, counts)
	}
	return lanes, nil
}

// Summarise prints one line for each lane, then the names of what failed, then the sum.
func Summarise(out io.Writer, lanes []Counts) {
	var sum Counts
	for _, c := range lanes {
		fmt.Fprintf(out, "%-14s %6d passed %4d failed %4d skipped\n", c.Lane, c.Passed, c.Failed, c.Skipped)
		for _, name := range c.Failing {
			fmt.Fprintln(out, "  failed:", name)
		}
		sum.Passed += c.Passed
		sum.Failed += c.Failed
	}
	fmt.Fprintf(out, "%d passed, %d failed\n", sum.Passed, sum.Failed)
}
