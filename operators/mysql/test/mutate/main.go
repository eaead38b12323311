// Command mutate changes the spec of a MySQL cluster in many ways while it is being written to, and judges what comes of
// each change: refused, converged, or rejected later by a condition that names the cause. It writes .out/mutate.json, and
// fails on anything else, and if a row is lost.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/mutation"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
	"github.com/kapok-operators/kapok/operators/mysql/test/mutate/campaign"
	"github.com/kapok-operators/kapok/shared/testkit/history"
)

const (
	namespace = "kapok-mutate"
	name      = "mutant"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

// settings say what to try.
type settings struct {
	seed    uint64
	changes int
	minutes int
	// only are words of the names of the changes to try, instead of a choice by seed.
	only []string
}

func readSettings(getenv func(string) string) (settings, error) {
	s := settings{seed: 1, changes: 25, minutes: 60}
	var errs []error
	read := func(name string, into *int) {
		if text := getenv(name); text != "" {
			n, err := strconv.Atoi(text)
			if err == nil && n < 1 {
				err = errors.New("it must be at least 1")
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("read %s=%s: %w", name, text, err))
			}
			*into = n
		}
	}
	read("CHANGES", &s.changes)
	read("MINUTES", &s.minutes)
	if text := getenv("SEED"); text != "" {
		var err error
		if s.seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			errs = append(errs, fmt.Errorf("read SEED=%s: %w", text, err))
		}
	}
	for word := range strings.SplitSeq(getenv("ONLY"), ",") {
		if word = strings.TrimSpace(word); word != "" {
			s.only = append(s.only, word)
		}
	}
	return s, errors.Join(errs...)
}

// choose returns the changes to try.
func (s settings) choose(all []mutation.Change) []mutation.Change {
	if len(s.only) == 0 {
		return mutation.Pick(all, s.seed, s.changes)
	}
	var out []mutation.Change
	for _, c := range all {
		for _, word := range s.only {
			if strings.Contains(c.Name, word) {
				out = append(out, c)
				break
			}
		}
	}
	return out
}

// summary is what is written.
type summary struct {
	Seed     uint64                   `json:"seed"`
	Changes  int                      `json:"changes"`
	Verdicts map[mutation.Verdict]int `json:"verdicts"`
	Alarms   int                      `json:"alarms"`
	// Repeat is the command that does the same again.
	Repeat  string            `json:"repeat"`
	Rows    *history.Verdict  `json:"rows"`
	Results []campaign.Result `json:"results"`
}

func (s *summary) add(result campaign.Result) {
	s.Changes++
	s.Verdicts[result.Verdict]++
	s.Alarms += len(result.Alarms)
	s.Results = append(s.Results, result)
}

func run(ctx context.Context) error {
	wanted, err := readSettings(os.Getenv)
	if err != nil {
		return err
	}
	options, err := lab.FromEnvironment(os.Getenv)
	if err != nil {
		return err
	}
	timeline := lab.NewTimeline(os.Stdout)
	opened, err := lab.Open(ctx, options, timeline.Log)
	if err != nil {
		return err
	}
	if err := timeline.Step("install the operator", func() error { return opened.InstallOperator(ctx) }); err != nil {
		return err
	}
	out := &summary{Seed: wanted.seed, Verdicts: map[mutation.Verdict]int{},
		Repeat: fmt.Sprintf("SEED=%d CHANGES=%d make mutate", wanted.seed, wanted.changes)}
	if len(wanted.only) > 0 {
		out.Repeat = fmt.Sprintf("SEED=%d ONLY=%q make mutate", wanted.seed, strings.Join(wanted.only, ","))
	}
	err = play(ctx, opened, timeline, wanted, out)
	if out.Alarms > 0 {
		err = errors.Join(fmt.Errorf("%d alarms; to repeat: %s", out.Alarms, out.Repeat), err)
	}
	path := filepath.Join(options.Out, "mutate.json")
	err = errors.Join(err, lab.WriteJSON(path, out))
	fmt.Printf("\n%d changes: %d converged, %d refused, %d rejected later, %d alarms\nwritten: %s\n", out.Changes,
		out.Verdicts[mutation.Converged], out.Verdicts[mutation.Refused], out.Verdicts[mutation.RejectedLater], out.Alarms, path)
	if err == nil && !options.Keep {
		err = opened.DeleteNamespace(ctx, namespace, 3*time.Minute)
	}
	return err
}

// play tries the changes until there are none left, the time is over, or the cluster is broken.
func play(ctx context.Context, opened *lab.Lab, timeline *lab.Timeline, wanted settings, out *summary) error {
	c, err := campaign.Open(ctx, opened.Cluster(namespace, name))
	if err != nil {
		return err
	}
	changes := wanted.choose(c.Changes(wanted.seed))
	if len(changes) == 0 {
		return errors.New("no change fits: look at ONLY")
	}
	folder := filepath.Join(opened.Out, "mutate")
	if err := timeline.Step("create a cluster of three", func() error { return c.Begin(ctx) }); err != nil {
		return err
	}
	end := time.Now().Add(time.Duration(wanted.minutes) * time.Minute)
	for i, change := range changes {
		if time.Now().After(end) {
			timeline.Log("time is over: %d of %d changes were tried", i, len(changes))
			break
		}
		timeline.Log("▶ %d of %d: %s", i+1, len(changes), change.Name)
		result, err := c.Try(ctx, change)
		out.add(result)
		if err != nil {
			return fmt.Errorf("%s: %w", change.Name, err)
		}
		timeline.Log("★ %-14s %.0fs, gap %.0f ms  %s", result.Verdict, result.Seconds, result.Gap, result.Said)
		for _, alarm := range result.Alarms {
			timeline.Log("✗ ALARM: %s: %s", change.Name, alarm)
		}
		if len(result.Alarms) > 0 {
			if diagnosis, err := opened.DiagnoseTo(ctx, namespace, filepath.Join(folder, strconv.Itoa(i+1))); err == nil {
				timeline.Log("  what was going on: %s", diagnosis)
			}
		}
		if result.Broken {
			timeline.Log("the cluster is not healthy, so nothing more can be tried on it")
			break
		}
	}
	report, err := c.End(ctx)
	out.Rows = report.Verdict
	return err
}
