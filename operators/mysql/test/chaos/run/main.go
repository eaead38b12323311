// Command run disturbs a MySQL cluster under load, fault after fault, and judges by history whether it kept its promises. It
// writes .out/chaos.json beside the raw history and fails if a promise was broken. The same SEED makes the same rounds.
//
// With the argument network it lets the cluster stand in a slow and lossy network instead, in which nothing may happen, and
// writes .out/chaos-network.json. With the argument backup it disturbs backups and restores, judges what was restored as of its moment, and writes
// .out/chaos-backup.json.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/test/chaos"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

const (
	namespace = "kapok-chaos"
	name      = "chaos"
	// clockImage is the image whose mysqld can be shown another time; hack/images makes it.
	clockImage = "kapok.local/mysql-clock:9.7"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	options, err := lab.FromEnvironment(os.Getenv)
	if err != nil {
		return err
	}
	minutes := int64(240)
	if slices.Contains(args, "network") {
		minutes = 60
	}
	o, err := campaign(os.Getenv, minutes)
	if err != nil {
		return err
	}
	o.Out = filepath.Join(options.Out, "chaos")
	if options.Provider == "local" {
		// Its volumes have the size asked for, and can be filled and stalled.
		o.StorageClass = "limited"
		if slices.Contains(o.Kinds, chaos.StepClock) {
			o.Image, o.ClockImage = clockImage, true
		}
	}
	timeline := lab.NewTimeline(os.Stdout)
	opened, err := lab.Open(ctx, options, timeline.Log)
	if err != nil {
		return err
	}
	if err := timeline.Step("install the operator", func() error { return opened.InstallOperator(ctx) }); err != nil {
		return err
	}
	if slices.Contains(args, "backup") {
		err = protect(ctx, opened, timeline, o, options.Out)
		if err != nil || options.Keep {
			return err
		}
		return opened.DeleteNamespace(ctx, namespace, 3*time.Minute)
	}
	c, err := chaos.Open(ctx, opened, timeline, o)
	if err != nil {
		return err
	}
	if slices.Contains(args, "network") {
		err = endure(ctx, c, timeline, options.Out)
	} else {
		err = disturb(ctx, c, options.Out)
	}
	if err != nil || options.Keep {
		return err
	}
	return opened.DeleteNamespace(ctx, namespace, 3*time.Minute)
}

// disturb runs a campaign of faults.
func disturb(ctx context.Context, c *chaos.Campaign, out string) error {
	summary, err := c.Run(ctx)
	// What was found before something went wrong is worth keeping.
	path := filepath.Join(out, "chaos.json")
	err = errors.Join(err, lab.WriteJSON(path, summary))
	summary.Print(os.Stdout)
	fmt.Println("written:", path)
	if err != nil {
		return err
	}
	if !summary.Good() {
		return fmt.Errorf("%d of %d rounds broke a promise", len(summary.Failing), summary.Rounds)
	}
	return nil
}

// protect runs a campaign of faults that meet backups and restores.
func protect(ctx context.Context, opened *lab.Lab, timeline *lab.Timeline, o chaos.Options, out string) error {
	if len(o.Kinds) > 0 {
		return errors.New("ONLY chooses among the faults of make chaos; SEED, FROM and FAULTS choose the rounds of make chaos-backup")
	}
	c, err := chaos.OpenProtection(ctx, opened, timeline, o)
	if err != nil {
		return err
	}
	summary, err := c.Run(ctx)
	path := filepath.Join(out, "chaos-backup.json")
	err = errors.Join(err, lab.WriteJSON(path, summary))
	summary.Print(os.Stdout)
	fmt.Println("written:", path)
	if err == nil && !summary.Good() {
		err = fmt.Errorf("%d of %d rounds broke a promise", len(summary.Failing), summary.Rounds)
	}
	return err
}

// The weather of an hour in which nothing may happen (mysql.md).
const (
	lossPercent = 5
	delayOneWay = 200 * time.Millisecond
)

// endure lets the cluster stand in a bad network.
func endure(ctx context.Context, c *chaos.Campaign, timeline *lab.Timeline, out string) error {
	found, err := c.Endure(ctx, chaos.Weather{Loss: lossPercent, Delay: delayOneWay})
	path := filepath.Join(out, "chaos-network.json")
	err = errors.Join(err, lab.WriteJSON(path, found))
	timeline.Log("%.1f minutes of %v%% loss and %d ms delay: %d false failovers, %d writes acknowledged, %d lost, %d phantom", found.Minutes, found.Loss,
		found.DelayMS, found.Failovers, found.Acknowledged, found.Lost, found.Phantom)
	fmt.Println("written:", path)
	if err == nil && !found.Good() {
		err = fmt.Errorf("%d false failovers, %d problems", found.Failovers, len(found.Problems))
	}
	return err
}

// campaign reads SEED, FROM, FAULTS, MINUTES, ONLY and INTERVAL.
func campaign(getenv func(string) string, minutes int64) (chaos.Options, error) {
	var problems []error
	number := func(variable string, fallback int64) int64 {
		text := getenv(variable)
		if text == "" {
			return fallback
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			problems = append(problems, fmt.Errorf("%s=%q is no number of 0 or more", variable, text))
		}
		return n
	}
	o := chaos.Options{Namespace: namespace, Name: name, Seed: uint64(number("SEED", 1)), From: int(number("FROM", 1)), //nolint:gosec // Not negative.
		Faults: int(number("FAULTS", 40)), Interval: 60 * time.Millisecond}
	o.Until = time.Now().Add(time.Duration(number("MINUTES", minutes)) * time.Minute)
	if text := getenv("INTERVAL"); text != "" {
		var err error
		if o.Interval, err = time.ParseDuration(text); err != nil || o.Interval < 0 {
			problems = append(problems, fmt.Errorf("INTERVAL=%q is no duration such as 50ms", text))
		}
	}
	for _, k := range strings.FieldsFunc(getenv("ONLY"), func(r rune) bool { return r == ',' || r == ' ' }) {
		o.Kinds = append(o.Kinds, chaos.Kind(k))
	}
	return o, errors.Join(problems...)
}
