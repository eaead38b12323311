package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kapok-operators/kapok/operators/mysql/internal/mutation"
)

func TestReadSettings(t *testing.T) {
	for name, c := range map[string]struct {
		environment map[string]string
		want        settings
		wrong       bool
	}{
		"nothing":       {nil, settings{seed: 1, changes: 25, minutes: 60}, false},
		"all":           {map[string]string{"SEED": "9", "CHANGES": "3", "MINUTES": "5", "ONLY": "scale, version"}, settings{seed: 9, changes: 3, minutes: 5, only: []string{"scale", "version"}}, false},
		"a word":        {map[string]string{"CHANGES": "many"}, settings{}, true},
		"none":          {map[string]string{"MINUTES": "0"}, settings{}, true},
		"negative seed": {map[string]string{"SEED": "-1"}, settings{}, true},
	} {
		got, err := readSettings(func(name string) string { return c.environment[name] })
		if (err != nil) != c.wrong {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(settings{})); !c.wrong && diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestChoose(t *testing.T) {
	all := mutation.Scenarios(mutation.Surroundings{})
	some := settings{only: []string{"scale to 1", "version down"}}.choose(all)
	names := make([]string, 0, len(some))
	for _, c := range some {
		names = append(names, c.Name)
	}
	if diff := cmp.Diff([]string{"scenario: scale to 1", "scenario: scale to 1 after 5 was asked for", "scenario: version down"}, names); diff != "" {
		t.Errorf("ONLY (-want +got):\n%s", diff)
	}
	if n := len(settings{seed: 1, changes: 7}.choose(all)); n != 7 {
		t.Errorf("7 changes were asked for, %d chosen", n)
	}
}
