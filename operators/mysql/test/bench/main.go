// Command bench kills the primary's mysqld many times and hands the primary over many times, under load, and prints the
// distribution of the write gaps that a client sees, next to the figures that the operator promises. It writes
// .out/bench/mysql.json and fails if an acknowledged row is lost; a figure that is missed is reported, not hidden.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

// benchTimeout bounds the whole benchmark.
const benchTimeout = 90 * time.Minute

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, benchTimeout)
	defer cancel()
	options, err := lab.FromEnvironment(os.Getenv)
	if err != nil {
		return err
	}
	kills, killsErr := count(os.Getenv("KILLS"), 30)
	switchovers, switchoversErr := count(os.Getenv("SWITCHOVERS"), 30)
	if err := errors.Join(killsErr, switchoversErr); err != nil {
		return fmt.Errorf("read KILLS and SWITCHOVERS: %w", err)
	}
	timeline := lab.NewTimeline(os.Stdout)
	opened, err := lab.Open(ctx, options, timeline.Log)
	if err != nil {
		return err
	}
	b := &bench{lab: opened, timeline: timeline, results: map[string]summary{}}
	err = b.play(ctx, kills, switchovers)
	// What was measured before something went wrong is worth keeping.
	path := filepath.Join(options.Out, "bench", "mysql.json")
	err = errors.Join(err, lab.WriteJSON(path, b.results))
	b.print(os.Stdout)
	if err != nil {
		if diagnosis, writeErr := opened.DiagnoseTo(ctx, namespace, filepath.Join(options.Out, "bench")); writeErr == nil {
			fmt.Println("what was going on:", diagnosis)
		}
		return err
	}
	fmt.Println("written:", path)
	if !options.Keep {
		err = opened.DeleteNamespace(ctx, namespace, 3*time.Minute)
	}
	return err
}

// count reads a number of runs.
func count(text string, fallback int) (int, error) {
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err == nil && n < 0 {
		err = fmt.Errorf("%d is negative", n)
	}
	return n, err
}
