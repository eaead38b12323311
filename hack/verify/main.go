// Command verify holds the checks of `make verify` that need more than a line of shell, and the counting of tests that
// `make test` ends with.
//
//	verify proxy -root DIR -out DIR    a file-system module proxy made from the modules of go.work; prints "path version" lines
//	verify modules -root DIR           one Kubernetes minor everywhere, no replace in what is published
//	verify source -root DIR            no complexity nolint, no package source's host, no path of this machine (files on standard input)
//	verify links -root DIR             relative links of the documents lead somewhere (files on standard input)
//	verify tally -lane NAME -out FILE [-follow] [-whole]  reads `go test -json` on standard input, prints it for people, writes the
//	                                   counts; with -whole it fails if a test was skipped
//	verify summary DIR                 adds up the counts of every lane and prints the closing line
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/kapok-operators/kapok/hack/verify/internal/gotest"
	"github.com/kapok-operators/kapok/hack/verify/internal/links"
	"github.com/kapok-operators/kapok/hack/verify/internal/modproxy"
	"github.com/kapok-operators/kapok/hack/verify/internal/modules"
	"github.com/kapok-operators/kapok/hack/verify/internal/source"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "verify:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("name one of proxy, modules, source, links, tally, summary")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	root := flags.String("root", ".", "top folder of the checkout")
	target := flags.String("out", "", "where to write")
	lane := flags.String("lane", "test", "name of the group of tests that is counted")
	follow := flags.Bool("follow", false, "name each test as it begins")
	whole := flags.Bool("whole", false, "a test that is skipped counts as failed")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "proxy":
		return proxy(*root, *target, out)
	case "modules":
		found, err := modules.Load(*root)
		if err != nil {
			return err
		}
		return report(out, modules.Check(found))
	case "source":
		return checkSource(*root, in, out)
	case "links":
		return checkLinks(*root, in, out)
	case "tally":
		return tally(*lane, *target, gotest.Options{Follow: *follow, Whole: *whole}, in, out)
	case "summary":
		return summary(flags.Args(), out)
	default:
		return fmt.Errorf("unknown command %q", args[0])
	}
}

func proxy(root, target string, out io.Writer) error {
	if target == "" {
		return errors.New("proxy needs -out")
	}
	found, err := modules.Load(root)
	if err != nil {
		return err
	}
	for _, m := range found {
		if !m.Published {
			continue
		}
		version, err := modproxy.Add(target, m.Path, m.Dir)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, m.Path, version)
	}
	return nil
}

func checkSource(root string, in io.Reader, out io.Writer) error {
	files, err := names(in)
	if err != nil {
		return err
	}
	machine, err := source.Machine(root)
	if err != nil {
		return err
	}
	problems, err := source.Check(root, files, machine)
	if err != nil {
		return err
	}
	return report(out, problems)
}

func checkLinks(root string, in io.Reader, out io.Writer) error {
	files, err := names(in)
	if err != nil {
		return err
	}
	problems, err := links.Check(root, files)
	if err != nil {
		return err
	}
	return report(out, problems)
}

// names reads a list of files, one a line.
func names(in io.Reader) ([]string, error) {
	var files []string
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		files = append(files, lines.Text())
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the list of files: %w", err)
	}
	if len(files) == 0 {
		return nil, errors.New("no files named on standard input: is this a git checkout?")
	}
	return files, nil
}

func tally(lane, target string, o gotest.Options, in io.Reader, out io.Writer) error {
	counts, err := gotest.Tally(lane, o, in, out)
	if err != nil {
		return err
	}
	if target != "" {
		if err := gotest.Write(target, counts); err != nil {
			return err
		}
	}
	if o.Whole && counts.Skipped > 0 {
		return fmt.Errorf("%d tests were skipped, where none may be missing", counts.Skipped)
	}
	return nil
}

func summary(args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("summary needs one folder")
	}
	lanes, err := gotest.Read(args[0])
	if err != nil {
		return err
	}
	gotest.Summarise(out, lanes)
	return nil
}

// report prints what was found and turns it into an error, so that the caller's exit status tells.
func report(out io.Writer, problems []string) error {
	for _, p := range problems {
		fmt.Fprintln(out, p)
	}
	if len(problems) > 0 {
		return fmt.Errorf("%d found", len(problems))
	}
	return nil
}
