package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/exporter"
	"github.com/kapok-operators/kapok/shared/agent"
)

// export runs the exporter of an instance; it is the composition root of the exporter's container.
func export(args []string) error {
	var options exporter.Options
	var listen string
	flags := flag.NewFlagSet("mysql-agent exporter", flag.ContinueOnError)
	flags.StringVar(&options.Credentials, "credentials", "", "the file with the exporter's account, written by the agent beside mysqld (required)")
	flags.StringVar(&options.Program, "program", "", "the exporter's executable; empty looks for it under its usual names")
	flags.StringVar(&listen, "http", ":"+strconv.Itoa(exporter.Port), "where /metrics is served")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if options.Credentials == "" {
		return errors.New("the flag --credentials is required")
	}
	options.Logger = slog.New(slog.NewJSONHandler(os.Stderr, nil))
	ctx, cancel := agent.Terminating(context.Background())
	defer cancel()
	supervisor := &agent.Supervisor{}
	front, err := exporter.New(options, supervisor)
	if err != nil {
		return err
	}
	server := &http.Server{Addr: listen, Handler: front.Handler(), ReadHeaderTimeout: 5 * time.Second}
	background := make(chan error, 2)
	go func() { background <- supervisor.Reap(ctx, nil) }()
	go func() { background <- server.ListenAndServe() }()
	finished := make(chan error, 1)
	go func() { finished <- front.Run(ctx) }()
	select {
	case err := <-finished:
		return err
	case err := <-background:
		asked := ctx.Err() != nil
		cancel()
		if ended := <-finished; ended != nil || asked {
			return ended
		}
		return fmt.Errorf("a background service ended: %w", err)
	}
}
