package gotest_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kapok-operators/kapok/hack/verify/internal/gotest"
)

func TestTally(t *testing.T) {
	tests := map[string]struct {
		events                  []string
		options                 gotest.Options
		passed, failed, skipped int
		failing                 []string
		says                    string
		silent                  string
	}{
		"passing tests are counted and not printed": {
			events: []string{
				`{"Action":"output","Package":"p","Test":"TestA","Output":"noise\n"}`,
				`{"Action":"pass","Package":"p","Test":"TestA"}`,
				`{"Action":"pass","Package":"p","Test":"TestA/case"}`,
				`{"Action":"pass","Package":"p","Elapsed":1.5}`,
			},
			passed: 2, says: "ok    p (1.5s)", silent: "noise",
		},
		"a failing test is named with its output": {
			events: []string{
				`{"Action":"output","Package":"p","Test":"TestA","Output":"got 1, want 2\n"}`,
				`{"Action":"fail","Package":"p","Test":"TestA"}`,
				`{"Action":"fail","Package":"p"}`,
			},
			failed: 1, failing: []string{"p TestA"}, says: "got 1, want 2",
		},
		"a package that does not build is one failure with the compiler's words": {
			events: []string{
				`{"ImportPath":"p [p.test]","Action":"build-output","Output":"undefined: x\n"}`,
				`{"ImportPath":"p [p.test]","Action":"build-fail"}`,
				`{"Action":"fail","Package":"p","FailedBuild":"p [p.test]"}`,
			},
			failed: 1, failing: []string{"p"}, says: "undefined: x",
		},
		"a process that dies is one failure with its last words": {
			events: []string{
				`{"Action":"output","Package":"p","Test":"TestA","Output":"panic: nil map\n"}`,
				`{"Action":"fail","Package":"p"}`,
			},
			failed: 1, failing: []string{"p"}, says: "panic: nil map",
		},
		"a skipped test is counted apart and named": {
			events: []string{
				`{"Action":"skip","Package":"p","Test":"TestA"}`,
				`{"Action":"pass","Package":"p"}`,
			},
			skipped: 1, says: "skip  p TestA",
		},
		"where nothing may be missing, it is a failure": {
			events: []string{
				`{"Action":"skip","Package":"p","Test":"TestA"}`,
				`{"Action":"pass","Package":"p"}`,
			},
			options: gotest.Options{Whole: true}, skipped: 1, failed: 1, failing: []string{"p TestA (skipped)"}, says: "skip  p TestA",
		},
		"a package without tests is nothing that is missing": {
			events:  []string{`{"Action":"skip","Package":"p"}`},
			options: gotest.Options{Whole: true},
		},
		"a package without tests counts nothing": {
			events: []string{`{"Action":"skip","Package":"p"}`},
		},
		"a slow test is named when it passes": {
			events: []string{`{"Action":"pass","Package":"p","Test":"TestA","Elapsed":3}`},
			passed: 1, says: "pass  TestA (3.0s)",
		},
		"tests are followed as they begin": {
			events: []string{
				`{"Action":"run","Package":"p","Test":"TestA"}`,
				`{"Action":"run","Package":"p","Test":"TestA/case"}`,
			},
			options: gotest.Options{Follow: true}, says: "run   TestA\n", silent: "case",
		},
		"what a followed test says is shown at once": {
			events: []string{
				`{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}`,
				`{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: 120000 steps\n"}`,
			},
			options: gotest.Options{Follow: true}, says: "120000 steps", silent: "===",
		},
		"what is no event is passed on": {
			events: []string{"go: cannot find main module"},
			says:   "go: cannot find main module",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			counts, err := gotest.Tally("unit", test.options, strings.NewReader(strings.Join(test.events, "\n")), &out)
			if err != nil {
				t.Fatal(err)
			}
			if counts.Passed != test.passed || counts.Failed != test.failed || counts.Skipped != test.skipped {
				t.Errorf("counted %+v, want %d passed, %d failed, %d skipped", counts, test.passed, test.failed, test.skipped)
			}
			if !slices.Equal(counts.Failing, test.failing) {
				t.Errorf("failing %q, want %q", counts.Failing, test.failing)
			}
			if !strings.Contains(out.String(), test.says) {
				t.Errorf("printed %q, want %q in it", out.String(), test.says)
			}
			if test.silent != "" && strings.Contains(out.String(), test.silent) {
				t.Errorf("printed %q, want no %q in it", out.String(), test.silent)
			}
		})
	}
}

func TestSummaryAddsUpTheLanesOfAFolder(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "test")
	for _, counts := range []gotest.Counts{
		{Lane: "unit", Passed: 40},
		{Lane: "e2e", Passed: 2, Failed: 1, Failing: []string{"p TestSwitchover"}},
	} {
		if err := gotest.Write(filepath.Join(folder, counts.Lane+".json"), counts); err != nil {
			t.Fatal(err)
		}
	}
	lanes, err := gotest.Read(folder)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	gotest.Summarise(&out, lanes)
	if !strings.HasSuffix(out.String(), "\n42 passed, 1 failed\n") {
		t.Errorf("the last line of %q is not the sum", out.String())
	}
	if !strings.Contains(out.String(), "failed: p TestSwitchover") {
		t.Errorf("%q does not name what failed", out.String())
	}
}
