// Command mysql-workload writes rows into a MySQL cluster, remembers what it was told about each of them, and says in
// the end whether the cluster kept its word. It runs as a Pod beside the cluster and is controlled through a loopback
// address, by executing itself in its own container:
//
//	mysql-workload run --address=shop.default.svc:3306 --user=app --password-file=/users/app --database=shop
//	mysql-workload ctl mark?name=kill    opens an event's window
//	mysql-workload ctl close             closes it and prints the event with its write gap
//	mysql-workload ctl report            prints everything so far
//	mysql-workload ctl stop              ends the writing
//	mysql-workload ctl verify            compares the table with the history and prints the verdict
//	mysql-workload query --sql=...       runs one statement and prints its rows as JSON
//	mysql-workload receive               keeps the notifications that are POSTed to it, for whoever GETs them
//	mysql-workload record --pod=1 ...    records clients that write and read through the Services, chapter by chapter
//	mysql-workload ctl chapter?name=c1   begins a chapter of a recording; end, history?chapter=c1, final?chapter=c1
//
// Standard output of `run` is one JSON object a line: progress every second, every write gap over 100 ms, every event.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if err := dispatch(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mysql-workload:", err)
		os.Exit(1)
	}
}

// dispatch runs the subcommand.
func dispatch(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("say what to do: run, record, receive, ctl or query")
	}
	switch args[0] {
	case "run":
		return runCommand(ctx, args[1:], out)
	case "record":
		return recordCommand(ctx, args[1:], out)
	case "receive":
		return receiveCommand(ctx, args[1:])
	case "ctl":
		if len(args) != 2 {
			return errors.New("ctl takes one argument: mark?name=NAME, close, current, report, stop or verify; " +
				"of a recording: prepare, chapter?name=NAME, end, report, acknowledged?after=T&within=T, history?chapter=NAME or final?chapter=NAME")
		}
		return control(ctx, args[1], out)
	case "query":
		return queryCommand(ctx, args[1:], out)
	default:
		return fmt.Errorf("no such command: %s", args[0])
	}
}

// settings are the flags that say how to reach the server.
type settings struct {
	address, user, passwordFile, database, tls string
}

func (s *settings) bind(flags *flag.FlagSet) {
	flags.StringVar(&s.address, "address", "", "host:port of the server; the name is resolved once (required)")
	flags.StringVar(&s.user, "user", "app", "account to write as")
	flags.StringVar(&s.passwordFile, "password-file", "", "file that holds the account's password (required)")
	flags.StringVar(&s.database, "database", "", "database to write into (required)")
	flags.StringVar(&s.tls, "tls", "preferred", "the driver's TLS mode: preferred, skip-verify or false")
}

// endpoint reads the password and resolves the name.
func (s *settings) endpoint(ctx context.Context) (endpoint, error) {
	if s.address == "" || s.passwordFile == "" || s.database == "" {
		return endpoint{}, errors.New("--address, --password-file and --database are required")
	}
	password, err := os.ReadFile(s.passwordFile)
	if err != nil {
		return endpoint{}, fmt.Errorf("read the password: %w", err)
	}
	address, err := resolve(ctx, s.address, time.Minute)
	if err != nil {
		return endpoint{}, err
	}
	return endpoint{address: address, user: s.user, password: strings.TrimRight(string(password), "\n"),
		database: s.database, tls: s.tls}, nil
}

func runCommand(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	var s settings
	s.bind(flags)
	var p plan
	flags.IntVar(&p.writers, "writers", 4, "how many write at the same time")
	flags.DurationVar(&p.interval, "interval", 5*time.Millisecond, "pause of a writer between two rows")
	flags.DurationVar(&p.duration, "duration", time.Hour, "when to end the writing at the latest")
	flags.IntVar(&p.payload, "payload", 128, "bytes of payload in a row")
	flags.DurationVar(&p.timeout, "timeout", 1500*time.Millisecond, "how long to wait for an answer before the outcome is unknown")
	flags.StringVar(&p.table, "table", "kapok_workload", "table to write into; created if it is not there")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	server, err := s.endpoint(ctx)
	if err != nil {
		return err
	}
	return newRun(p, server, out).serve(ctx)
}

func recordCommand(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("record", flag.ContinueOnError)
	var s settings
	s.bind(flags)
	var p recordPlan
	replicas := flags.String("replicas", "", "host:port of the read-only Service (required)")
	flags.StringVar(&p.folder, "folder", "", "folder that the recording is kept in (required)")
	flags.IntVar(&p.pod, "pod", 1, "number of this process among those of the recording")
	flags.DurationVar(&p.interval, "interval", 50*time.Millisecond, "pause of a client between two operations")
	flags.DurationVar(&p.timeout, "timeout", 3*time.Second, "how long to wait for an answer before the outcome is unknown")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *replicas == "" {
		return errors.New("--replicas is required")
	}
	if err := p.check(); err != nil {
		return err
	}
	primary, err := s.endpoint(ctx)
	if err != nil {
		return err
	}
	primary.dial = recordDialTimeout
	readers := primary
	if readers.address, err = resolve(ctx, *replicas, time.Minute); err != nil {
		return err
	}
	r, err := openRecording(p, primary, readers, out)
	if err != nil {
		return err
	}
	return r.serve(ctx)
}

func queryCommand(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("query", flag.ContinueOnError)
	var s settings
	s.bind(flags)
	statement := flags.String("sql", "", "the statement (required)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *statement == "" {
		return errors.New("--sql is required")
	}
	server, err := s.endpoint(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	rows, err := query(ctx, server, *statement)
	if err != nil {
		return fmt.Errorf("run the statement: %w", err)
	}
	return json.NewEncoder(out).Encode(rows)
}
