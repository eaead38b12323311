// Command images assembles container images without a registry and without a container engine: operand images from
// Debian packages, operator images from static binaries. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/kapok-operators/kapok/hack/images/internal/archive"
	"github.com/kapok-operators/kapok/hack/images/internal/build"
	"github.com/kapok-operators/kapok/hack/images/internal/cache"
	"github.com/kapok-operators/kapok/hack/images/internal/progress"
	"github.com/kapok-operators/kapok/hack/images/internal/recipe"
)

// commandTimeout bounds a whole run, waiting for other runs included.
const commandTimeout = 40 * time.Minute

const usage = `images assembles container images from Debian packages and static binaries.

  images build NAME...|all [--out DIR] [--refresh]   archives NAME.tar, default folder .out/images
  images rootfs NAME [--refresh]                      prints a folder with the image's files; host/ holds runnable wrappers
  images static --tag REF --binary PATH[=/DEST]... [--entrypoint ARG]... [--user UID] --out FILE
  images list                                         names and references of the operand images
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	cancel()
	stop()
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		_, _ = io.WriteString(stderr, usage)
		return flag.ErrHelp
	}
	log := progress.Start(stderr)
	commands := map[string]func(context.Context, []string, io.Writer, *progress.Log) error{
		"build": buildImages, "rootfs": rootfs, "static": static, "list": list,
	}
	command, found := commands[args[0]]
	if !found {
		_, _ = io.WriteString(stderr, usage)
		return fmt.Errorf("there is no command %q", args[0])
	}
	return command(ctx, args[1:], stdout, log)
}

func list(_ context.Context, _ []string, stdout io.Writer, _ *progress.Log) error {
	for _, image := range recipe.Images() {
		if _, err := fmt.Fprintf(stdout, "%-16s %s\n", image.Name, image.Tag); err != nil {
			return err
		}
	}
	return nil
}

func buildImages(ctx context.Context, args []string, stdout io.Writer, log *progress.Log) error {
	flags := flag.NewFlagSet("build", flag.ContinueOnError)
	out := flags.String("out", filepath.Join(".out", "images"), "folder for the archives")
	refresh := flags.Bool("refresh", false, "take the newest packages")
	names, err := parse(flags, args)
	if err != nil {
		return err
	}
	images, err := build.Names(names)
	if err != nil {
		return err
	}
	if len(images) == 0 {
		return errors.New("name at least one image, or all")
	}
	return locked(ctx, log, func(builder *build.Builder) error {
		for _, image := range images {
			if *refresh {
				if err := builder.Refresh(ctx, image.Name); err != nil {
					return err
				}
			}
			path, err := builder.Archive(ctx, image)
			if err != nil {
				return err
			}
			target := filepath.Join(*out, image.Name+".tar")
			if err := build.Place(path, target); err != nil {
				return err
			}
			log.Step("%s is in %s", image.Tag, target)
			if _, err := fmt.Fprintln(stdout, target); err != nil {
				return err
			}
		}
		return nil
	})
}

func rootfs(ctx context.Context, args []string, stdout io.Writer, log *progress.Log) error {
	flags := flag.NewFlagSet("rootfs", flag.ContinueOnError)
	refresh := flags.Bool("refresh", false, "take the newest packages")
	names, err := parse(flags, args)
	if err != nil {
		return err
	}
	if len(names) != 1 {
		return errors.New("name exactly one image")
	}
	image, err := recipe.Find(names[0])
	if err != nil {
		return err
	}
	return locked(ctx, log, func(builder *build.Builder) error {
		if *refresh {
			if err := builder.Refresh(ctx, image.Name); err != nil {
				return err
			}
		}
		dir, err := builder.Rootfs(ctx, image)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(stdout, dir)
		return err
	})
}

func static(ctx context.Context, args []string, stdout io.Writer, log *progress.Log) error {
	flags := flag.NewFlagSet("static", flag.ContinueOnError)
	tag := flags.String("tag", "", "the image's full reference")
	user := flags.String("user", "65532:65532", "user and group that the program runs as")
	out := flags.String("out", "", "the archive to write")
	var binaries []build.Binary
	flags.Func("binary", "a static program, as PATH or PATH=/DESTINATION; may be repeated", func(argument string) error {
		binary, err := build.ParseBinary(argument)
		binaries = append(binaries, binary)
		return err
	})
	var entrypoint []string
	flags.Func("entrypoint", "one word of the entry point; may be repeated (default: the first binary)", func(word string) error {
		entrypoint = append(entrypoint, word)
		return nil
	})
	rest, err := parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 || *tag == "" || *out == "" || len(binaries) == 0 {
		return errors.New("static needs --tag, --out and at least one --binary, and nothing else")
	}
	if len(entrypoint) == 0 {
		entrypoint = []string{binaries[0].Destination}
	}
	return locked(ctx, log, func(builder *build.Builder) error {
		config := archive.Config{User: *user, Entrypoint: entrypoint, Env: []string{"PATH=/"}}
		path, err := builder.Static(*tag, binaries, config)
		if err != nil {
			return err
		}
		if err := build.Place(path, *out); err != nil {
			return err
		}
		log.Step("%s is in %s", *tag, *out)
		_, err = fmt.Fprintln(stdout, *out)
		return err
	})
}

// parse lets flags stand before, between and after the names.
func parse(flags *flag.FlagSet, args []string) ([]string, error) {
	var names []string
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if flags.NArg() == 0 {
			return names, nil
		}
		names = append(names, flags.Arg(0))
		args = flags.Args()[1:]
	}
}

// locked runs the work while no other process uses the cache.
func locked(ctx context.Context, log *progress.Log, work func(*build.Builder) error) error {
	dir, err := cache.Open()
	if err != nil {
		return err
	}
	unlock, err := dir.Lock(ctx, func() { log.Step("waiting for another build to finish") })
	if err != nil {
		return err
	}
	defer unlock()
	return work(build.New(dir, log))
}
