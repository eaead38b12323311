package main

import (
	"bytes"
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseTakesFlagsAnywhere(t *testing.T) {
	for _, args := range [][]string{{"--out", "d", "a", "b"}, {"a", "--out", "d", "b"}, {"a", "b", "--out=d"}} {
		flags := flag.NewFlagSet("build", flag.ContinueOnError)
		out := flags.String("out", "", "")
		names, err := parse(flags, args)
		if err != nil || *out != "d" {
			t.Fatalf("%v: out %q, %v", args, *out, err)
		}
		if diff := cmp.Diff([]string{"a", "b"}, names); diff != "" {
			t.Errorf("%v: %s", args, diff)
		}
	}
}

func TestRunRefusesWhatItDoesNotUnderstand(t *testing.T) {
	t.Setenv("KAPOK_CACHE", t.TempDir())
	tests := map[string][]string{
		"no such command":                {"push"},
		"no such image":                  {"build", "nginx"},
		"no image":                       {"build"},
		"two root file systems":          {"rootfs", "mysql", "pause"},
		"a root file system of one file": {"rootfs", "pause"},
		"static without a reference":     {"static", "--binary", "x", "--out", "y"},
		"static with a stray word":       {"static", "--tag", "a.example/b:1", "--binary", "x", "--out", "y", "z"},
		"a destination that is no path":  {"static", "--tag", "a.example/b:1", "--binary", "x=y", "--out", "y"},
	}
	for name, args := range tests {
		t.Run(name, func(t *testing.T) {
			if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
				t.Errorf("%v was carried out", args)
			}
		})
	}
}

func TestListNamesEveryImage(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"list"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kapok.local/mysql:9.7", "kapok.local/mysqld-exporter:0.19", "registry.k8s.io/pause:3.10"} {
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("%s is missing in:\n%s", want, out.String())
		}
	}
}
