// Command platform-bench measures an operator on shared/manager and shared/apply with many objects, on a real API server
// and etcd. The operator is a process of its own: this program, started again. It writes platform.json.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// operatorCommand is the first argument of the second process.
const operatorCommand = "operator"

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == operatorCommand {
		return runOperator(ctx, args[1:])
	}
	var o options
	fs := flag.NewFlagSet("platform-bench", flag.ContinueOnError)
	fs.IntVar(&o.objects, "objects", 10_000, "managed objects; each owns one ConfigMap")
	fs.DurationVar(&o.idle, "idle", time.Minute, "how long writes are counted while nothing changes")
	fs.IntVar(&o.rounds, "rounds", 3, "rounds of events, and restarts of the API server")
	fs.IntVar(&o.perSecond, "rate", 50, "events in a second")
	fs.DurationVar(&o.load, "load", 30*time.Second, "how long a round of events lasts")
	fs.IntVar(&o.kills, "kills", 12, "kills of the leader")
	fs.IntVar(&o.shardObjects, "shard-objects", 1500, "changed objects that one and three shards work off; 0 leaves that out")
	fs.DurationVar(&o.shardWait, "shard-wait", 200*time.Millisecond, "how long the reconcile of each of them waits in the first setting")
	out := fs.String("out", "platform.json", "`file` to write")
	if err := fs.Parse(args); err != nil {
		return err
	}
	return measure(ctx, o, func(r *report) error { return r.write(*out) })
}
