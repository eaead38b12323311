// Command localcluster runs a real Kubernetes cluster of several nodes on one bare Linux machine: no Docker, no image
// registry, nothing installed, and nothing of the machine's network touched. See README.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/box"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/cluster"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/control"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/preflight"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/progress"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/store"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/supervisor"
	"github.com/kapok-operators/kapok/hack/localcluster/netfault"
)

const usage = `localcluster runs a real Kubernetes cluster on this machine.

  up                             bring the cluster up; does nothing if it is
  down                           take it down, with all it holds, and verify that nothing is left
  status [--output json]         what the cluster and its nodes are doing
  kubeconfig [--content]         print the path (or the content) of its kubeconfig
  kubectl ARGUMENTS...           run kubectl against it
  load ARCHIVE...                load image archives on every node
  node stop|start NAME           take a node's power away; give it back and wait until it is Ready
  node cut|heal NAME             take a node's network away; end all faults of its network (heal also: all)
  node isolate NAME [OPTIONS]    cut a part of a node's traffic: --direction, --peers, --port (-h explains)
  node disturb NAME [OPTIONS]    lose or delay it: also --loss, --delay, --jitter (NAME also: all)
  node freeze|thaw NAME          let a node's processes stand still; let them go on (also: control-plane)
  node exec NAME -- COMMAND...   run a command in a node (also: control-plane)
  control pause|resume|restart PROGRAM
                                 let a program of the control plane stand still; let it go on; kill it (it comes back)
  volume stall|release NODE VOLUME
                                 let writes to a volume of class limited hang; let them go on
  assets                         build what a cluster needs, and print the folder of its programs (for envtest)
  preflight                      say what this machine lacks to run a cluster; changes nothing

Every command takes --name NAME (default: $KAPOK_CLUSTER, or kapok); clusters of different names run side by side.
'localcluster up -h' lists the options of up.
`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	// The first processes of a box must stay on the thread whose namespaces they change.
	if os.Args[1] == box.EnterCommand {
		runtime.LockOSThread()
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1], os.Args[2:])
	cancel()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		os.Exit(exit.ExitCode())
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "localcluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, command string, args []string) error {
	switch command {
	case box.EnterCommand:
		return box.Enter(args[0])
	case box.InitCommand:
		return box.RunInit(args[0])
	case "help", "-h", "--help":
		_, err := io.WriteString(os.Stdout, usage)
		return err
	}
	name := os.Getenv("KAPOK_CLUSTER")
	if name == "" {
		name = spec.Default().Name
	}
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.StringVar(&name, "name", name, "name of the cluster")
	out := progress.New(os.Stdout)
	switch command {
	case "up":
		return up(ctx, flags, &name, args, out)
	case "down":
		return parsed(flags, args, 0, func() error { return cluster.Down(ctx, name, out) })
	case cluster.SuperviseCommand:
		return parsed(flags, args, 0, func() error { return supervise(ctx, name) })
	case "status":
		format := flags.String("output", "text", "text or json")
		return parsed(flags, args, 0, func() error { return status(ctx, name, *format) })
	case "kubeconfig":
		content := flags.Bool("content", false, "print the content, not the path")
		return parsed(flags, args, 0, func() error { return kubeconfig(name, *content) })
	case "load":
		return parsed(flags, args, -1, func() error { return cluster.Load(ctx, name, flags.Args(), out) })
	case "kubectl":
		return kubectl(ctx, name, args)
	case "node":
		return parsed(flags, args, -1, func() error { return node(ctx, name, flags.Args(), out) })
	case "control":
		return parsed(flags, args, 2, func() error {
			return cluster.Service(ctx, name, flags.Arg(0), flags.Arg(1))
		})
	case "volume":
		return parsed(flags, args, 3, func() error {
			return cluster.Volume(ctx, name, flags.Arg(0), flags.Arg(1), flags.Arg(2))
		})
	case "assets":
		return parsed(flags, args, 0, func() error { return assets(ctx) })
	case "preflight":
		return parsed(flags, args, 0, checkMachine)
	}
	return fmt.Errorf("unknown command %q; 'localcluster help' lists the commands", command)
}

// parsed parses the arguments, which may hold that many words besides options (-1: one or more), and runs f.
func parsed(flags *flag.FlagSet, args []string, words int, f func() error) error {
	if err := flags.Parse(args); err != nil {
		return flag.ErrHelp
	}
	if words >= 0 && flags.NArg() != words || words < 0 && flags.NArg() == 0 {
		return fmt.Errorf("%s: wrong number of arguments; 'localcluster help' lists the commands", flags.Name())
	}
	return f()
}

func up(ctx context.Context, flags *flag.FlagSet, name *string, args []string, out *progress.Printer) error {
	s := spec.Default()
	flags.IntVar(&s.Nodes, "nodes", s.Nodes, "number of nodes, in zones z1, z2, z3, z1 and so on")
	flags.DurationVar(&s.NodeMonitorGracePeriod, "node-monitor-grace-period", 0, "how long a node may be silent before it is NotReady (0: Kubernetes' default)")
	flags.IntVar(&s.EvictionSeconds, "eviction-seconds", s.EvictionSeconds, "how long pods stay on a node that is not ready (-1: Kubernetes' default)")
	flags.IntVar(&s.APIPort, "api-port", 0, "port of the API on 127.0.0.1 (0: a free one)")
	return parsed(flags, args, 0, func() error {
		s.Name = *name
		if err := cluster.Up(ctx, s, out); err != nil {
			return err
		}
		dir, err := store.Open(s.Name)
		if err != nil {
			return err
		}
		out.Line("cluster %s is up; export KUBECONFIG=%s", s.Name, dir.Kubeconfig())
		return nil
	})
}

func supervise(ctx context.Context, name string) error {
	dir, err := store.Open(name)
	if err != nil {
		return err
	}
	return supervisor.Run(ctx, dir)
}

func status(ctx context.Context, name, format string) error {
	st, found, err := cluster.Status(ctx, name)
	if err != nil {
		return err
	}
	if format == "json" {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(st)
	} else {
		err = printStatus(os.Stdout, st)
	}
	if err == nil && (!found || st.State != control.Ready) {
		err = fmt.Errorf("cluster %s is %s", name, st.State)
	}
	return err
}

func printStatus(to io.Writer, st control.Status) error {
	w := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "cluster\t%s\nstate\t%s\n", st.Name, st.State)
	for _, row := range [][2]string{{"error", st.Error}, {"API", st.API}, {"kubeconfig", st.Kubeconfig}, {"audit log", st.AuditLog}} {
		if row[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
		}
	}
	if len(st.Boxes) > 0 {
		fmt.Fprint(w, "\nBOX\tSTATE\tREADY\tZONE\tIP\tPID\n")
	}
	dash := func(s string) string {
		if s == "" || s == "0" {
			return "-"
		}
		return s
	}
	for _, b := range st.Boxes {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", b.Name, b.State, dash(b.Ready), dash(b.Zone), b.IP, dash(fmt.Sprint(b.Pid)))
	}
	printFaults(w, st)
	return w.Flush()
}

// printFaults prints what else is done to the cluster, besides the states of its boxes.
func printFaults(w io.Writer, st control.Status) {
	var lines []string
	for _, r := range st.NetworkFaults {
		lines = append(lines, "network\t"+r.String())
	}
	for _, b := range st.Boxes {
		for _, p := range b.Paused {
			lines = append(lines, "paused\t"+b.Name+" "+p)
		}
		for _, v := range b.Stalled {
			lines = append(lines, "stalled\t"+b.Name+" "+v)
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(w, "\nFAULT\tWHAT\n%s\n", strings.Join(lines, "\n"))
	}
}

func kubeconfig(name string, content bool) error {
	dir, err := store.Open(name)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(dir.Kubeconfig())
	if err != nil {
		return fmt.Errorf("cluster %s has no kubeconfig; bring it up first: %w", name, err)
	}
	if content {
		_, err = os.Stdout.Write(data)
		return err
	}
	_, err = fmt.Println(dir.Kubeconfig())
	return err
}

// kubectl becomes kubectl. Its own options follow; only a leading --name is taken.
func kubectl(ctx context.Context, name string, args []string) error {
	if len(args) > 1 && args[0] == "--name" {
		name, args = args[1], args[2:]
	} else if len(args) > 0 && strings.HasPrefix(args[0], "--name=") {
		name, args = strings.TrimPrefix(args[0], "--name="), args[1:]
	}
	dir, err := store.Open(name)
	if err != nil {
		return err
	}
	maker, err := cluster.Maker(progress.New(os.Stderr))
	if err != nil {
		return err
	}
	bin, err := maker.Kube(ctx)
	if err != nil {
		return err
	}
	if err := os.Setenv("KUBECONFIG", dir.Kubeconfig()); err != nil {
		return fmt.Errorf("set KUBECONFIG: %w", err)
	}
	return syscall.Exec(filepath.Join(bin, "kubectl"), append([]string{"kubectl"}, args...), os.Environ())
}

func node(ctx context.Context, name string, args []string, out *progress.Printer) error {
	if len(args) >= 2 && args[0] == "exec" {
		command := args[2:]
		if len(command) > 0 && command[0] == "--" {
			command = command[1:]
		}
		if len(command) == 0 {
			return errors.New("node exec: no command given")
		}
		return cluster.Exec(ctx, name, args[1], command)
	}
	if len(args) >= 2 && (args[0] == "isolate" || args[0] == "disturb") {
		return disturb(ctx, name, args[0], args[1], args[2:])
	}
	if len(args) != 2 {
		return errors.New("node: give an operation and a node's name; 'localcluster help' lists the operations")
	}
	done := out.Step(fmt.Sprintf("node %s: %s done", args[1], args[0]))
	if err := cluster.Node(ctx, name, args[0], args[1]); err != nil {
		return err
	}
	done()
	return nil
}

// disturb makes the network of a node bad. To isolate is to lose everything.
func disturb(ctx context.Context, name, operation, node string, args []string) error {
	rule := netfault.Rule{Node: node}
	if operation == "isolate" {
		rule.Loss = 100
	}
	flags := flag.NewFlagSet("node "+operation+" "+node, flag.ContinueOnError)
	rule.Flags(flags)
	return parsed(flags, args, 0, func() error { return cluster.Disturb(ctx, name, rule) })
}

func assets(ctx context.Context) error {
	set, err := cluster.Artifacts(ctx, progress.New(os.Stderr))
	if err != nil {
		return err
	}
	_, err = fmt.Println(set.Kube)
	return err
}

func checkMachine() error {
	cache, err := store.Cache()
	if err != nil {
		return err
	}
	root, err := store.Root()
	if err != nil {
		return err
	}
	checks := preflight.Run(cache, root)
	for _, c := range checks {
		result := "ok"
		if c.Problem != "" {
			result = "MISSING: " + c.Problem
		}
		if _, err := fmt.Printf("%-28s %s\n", c.Name, result); err != nil {
			return err
		}
	}
	return preflight.Error(checks)
}
