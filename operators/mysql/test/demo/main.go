// Command demo shows a MySQL cluster that loses its primary and goes on: it installs the operator, creates a cluster of three
// instances, writes without pause, kills the primary's mysqld, takes away the primary's whole node, hands the primary
// over as planned, and then counts the rows. It prints what happens as it happens, writes .out/demo.json, and fails if a
// row that was acknowledged is not there.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

// demoTimeout bounds the whole demonstration after the images are built.
const demoTimeout = 30 * time.Minute

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	options, err := lab.FromEnvironment(os.Getenv)
	if err != nil {
		return err
	}
	timeline := lab.NewTimeline(os.Stdout)
	d := &demo{timeline: timeline}
	if err := timeline.Step("open the cluster and load the images", func() (err error) {
		d.lab, err = lab.Open(ctx, options, timeline.Log)
		return err
	}); err != nil {
		return err
	}
	err = d.play(ctx)
	if err != nil && d.lab != nil {
		fmt.Println("\nWhat was going on:")
		d.lab.Diagnose(ctx, namespace, 15, os.Stdout)
		if path, writeErr := d.lab.DiagnoseTo(ctx, namespace, filepath.Join(options.Out, "demo")); writeErr == nil {
			fmt.Println("\nMore of it:", path)
		}
	}
	return err
}
