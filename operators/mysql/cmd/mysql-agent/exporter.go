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

// exportConfig is what the flags of the exporter's container say.
type exportConfig struct {
	identity
	options exporter.Options
	http    string
}

// parseExport reads them.
func parseExport(args []string) (exportConfig, error) {
	var c exportConfig
	flags := flag.NewFlagSet("mysql-agent exporter", flag.ContinueOnError)
	c.bind(flags)
	flags.StringVar(&c.options.Credentials, "credentials", "", "the file with the exporter's account, written by the agent beside mysqld (required)")
	flags.StringVar(&c.options.Program, "program", "", "the exporter's executable; empty looks for it under its usual names")
	flags.StringVar(&c.http, "http", ":"+strconv.Itoa(exporter.Port), "where /metrics is served")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	for name, value := range map[string]string{"instance": c.instance, "credentials": c.options.Credentials} {
		if value == "" {
			return c, fmt.Errorf("the flag --%s is required", name)
		}
	}
	return c, nil
}

// export runs the exporter of an instance; it is the composition root of the exporter's container.
func export(args []string) error {
	c, err := parseExport(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	c.options.Logger = slog.New(logHandler(os.Stderr, c.identity))
	ctx, cancel := agent.Terminating(context.Background())
	defer cancel()
	supervisor := &agent.Supervisor{}
	front, err := exporter.New(c.options, supervisor)
	if err != nil {
		return err
	}
	server := &http.Server{Addr: c.http, Handler: front.Handler(), ReadHeaderTimeout: 5 * time.Second}
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
