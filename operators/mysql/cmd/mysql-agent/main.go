// Command mysql-agent runs one instance of a MySQL cluster inside its pod: "install" copies the binary from an init
// container, "run" is PID 1 of the mysqld container, "exporter" is PID 1 of the exporter's.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/go-logr/logr"

	mysqlagent "github.com/kapok-operators/kapok/operators/mysql/internal/agent"
	"github.com/kapok-operators/kapok/shared/agent"
	"github.com/kapok-operators/kapok/shared/link"
	"github.com/kapok-operators/kapok/shared/observability/jsonlog"
)

func main() {
	if err := dispatch(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mysql-agent:", err)
		os.Exit(1)
	}
}

// dispatch runs the sub-command.
func dispatch(args []string) error {
	usage := errors.New("usage: mysql-agent install DEST | mysql-agent run [flags] | mysql-agent exporter [flags]")
	if len(args) == 0 {
		return usage
	}
	switch args[0] {
	case "install":
		if len(args) != 2 {
			return usage
		}
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find the own executable: %w", err)
		}
		return agent.Install(self, args[1])
	case "run":
		return run(args[1:])
	case "exporter":
		return export(args[1:])
	}
	return usage
}

// config is what the flags say.
type config struct {
	identity
	options                     mysqlagent.Options
	operator, operatorCA, token string
	serverName, http            string
}

// identity is what a process of an instance's pod says of itself in its log.
type identity struct {
	instance, cluster, namespace, podUID string
	logLevel                             slog.Level
}

// bind declares the flags of an identity.
func (i *identity) bind(flags *flag.FlagSet) {
	flags.StringVar(&i.instance, "instance", "", "the pod's name; it ends in the member's ordinal (required)")
	flags.StringVar(&i.cluster, "cluster", "", "the MySQLCluster's name, for logs")
	flags.StringVar(&i.namespace, "namespace", "", "the pod's namespace, for logs")
	flags.StringVar(&i.podUID, "pod-uid", "", "the pod's UID, for logs")
	flags.TextVar(&i.logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
}

// parse reads the flags.
func parse(args []string) (config, error) {
	var c config
	flags := flag.NewFlagSet("mysql-agent run", flag.ContinueOnError)
	c.bind(flags)
	flags.StringVar(&c.options.DataDir, "data-dir", "/var/lib/mysql", "the root of the data volume")
	flags.StringVar(&c.options.RunDir, "run-dir", "/run/kapok", "a folder for the socket and the configuration; it need not survive")
	flags.StringVar(&c.options.UsersDir, "users-dir", "", "the mounted users Secret: one file per account, named like it, with its password")
	flags.StringVar(&c.options.Monitor, "exporter-credentials", "", "the file in which the exporter finds its account; empty for an instance without an exporter")
	flags.Func("restore", "what the first instance of a new cluster begins with, as `JSON`; empty for nothing", func(text string) error {
		if text == "" {
			return nil
		}
		return json.Unmarshal([]byte(text), &c.options.Restore.Duty)
	})
	flags.StringVar(&c.options.Restore.Credentials, "restore-credentials", "/etc/kapok/restore", "the mounted Secret with the keys of the bucket to restore from")
	flags.StringVar(&c.options.Restore.Volume, "restore-volume", "/restore", "where the volume to restore from is mounted")
	flags.StringVar(&c.options.Restore.Identity, "restore-identity", "/etc/kapok/restore-identity", "the mounted Secret with the age identities; it may be missing if nothing is encrypted")
	flags.StringVar(&c.options.BackupCredentials, "backup-credentials", "/etc/kapok/backup", "the mounted Secret with the credentials of a bucket for backups; it may be missing")
	flags.StringVar(&c.options.BackupVolume, "backup-volume", "/backup", "where a volume for backups is mounted; it may be missing")
	flags.StringVar(&c.options.Mysqld, "mysqld", "mysqld", "mysqld's executable, or the name to look up in PATH")
	flags.StringVar(&c.options.Bind, "bind", "*", "the address that mysqld listens on")
	flags.IntVar(&c.options.Port, "port", 3306, "the port that mysqld listens on")
	flags.DurationVar(&c.options.Grace, "grace", 50*time.Second, "how long a primary that is asked to stop waits to be relieved; less than the pod's grace period")
	flags.StringVar(&c.operator, "operator", "", "the operator's agent endpoint, host:port (required)")
	flags.StringVar(&c.operatorCA, "operator-ca", "", "the file with the authorities that may sign the operator's certificate (required)")
	flags.StringVar(&c.serverName, "operator-name", "", "the name that the operator's certificate must carry; empty for the link's default")
	flags.StringVar(&c.token, "token", "", "the file with the pod's projected token for the operator (required)")
	flags.StringVar(&c.http, "http", ":8080", "where /healthz, /readyz and /metrics are served")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	for name, value := range map[string]string{
		"instance": c.instance, "operator": c.operator, "operator-ca": c.operatorCA, "token": c.token,
	} {
		if value == "" {
			return c, fmt.Errorf("the flag --%s is required", name)
		}
	}
	c.options.Instance, c.options.Version = c.instance, version()
	return c, nil
}

// version returns what the build says it is.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return ""
}

// logHandler writes lines with the keys that the operator's have: those of the cluster, and those of this pod.
func logHandler(w io.Writer, i identity) slog.Handler {
	// An instance is called like its pod.
	return jsonlog.New(w, i.logLevel, jsonlog.Pod{Namespace: i.namespace, Name: i.instance, UID: i.podUID}).WithAttrs([]slog.Attr{
		slog.String(jsonlog.KeyKind, "MySQLCluster"), slog.String(jsonlog.KeyNamespace, i.namespace), slog.String(jsonlog.KeyName, i.cluster),
		slog.String("instance", i.instance),
	})
}

// run is the composition root.
func run(args []string) error {
	c, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	log := slog.New(logHandler(os.Stderr, c.identity))
	c.options.Logger = log
	ctx, cancel := agent.Terminating(context.Background())
	defer cancel()

	supervisor := &agent.Supervisor{}
	operator := &operator{}
	a, err := mysqlagent.New(c.options, operator, supervisor)
	if err != nil {
		return err
	}
	operator.client, err = link.NewClient(link.ClientOptions{
		Target: c.operator, ServerName: c.serverName, CAFile: c.operatorCA, TokenFile: c.token, Name: c.instance,
		OnDirective: func(ctx context.Context, d link.Directive) error { return a.Deliver(ctx, d.Payload) },
		OnServers: func() {
			for _, s := range operator.client.Servers() {
				if s.Connected {
					a.Heard(s.EchoPayload, s.EchoSent)
				}
			}
		},
		Logger: logr.FromSlogHandler(log.Handler()),
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.http)
	if err != nil {
		return fmt.Errorf("listen for probes: %w", err)
	}
	server := &http.Server{Handler: a.Handler(), ReadHeaderTimeout: 5 * time.Second}
	// The link and the probes serve until mysqld is down: its last reports matter most.
	beside, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	background := make(chan error, 3)
	go func() { background <- supervisor.Reap(beside, nil) }()
	go func() { background <- operator.client.Run(beside) }()
	go func() { background <- server.Serve(listener) }()
	finished := make(chan error, 1)
	go func() { finished <- a.Run(ctx) }()
	select {
	case err := <-finished:
		return err
	case err := <-background:
		cancel()
		return errors.Join(fmt.Errorf("a background service ended: %w", err), <-finished)
	}
}

// operator is the agent's way to the link, which in turn needs the agent.
type operator struct{ client *link.Client }

// Publish implements the agent's Operator.
func (o *operator) Publish(payload json.RawMessage) error { return o.client.Publish(payload) }
