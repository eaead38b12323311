package mycnf

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	owned "github.com/kapok-operators/kapok/operators/mysql/internal/mycnf"
)

var update = flag.Bool("update", false, "write the golden files anew")

func input() Input {
	return Input{
		ServerID: 101, DataDir: "/var/lib/mysql/data", TempDir: "/var/lib/mysql/tmp",
		Socket: "/run/mysqld/mysqld.sock", PIDFile: "/run/mysqld/mysqld.pid", InitFile: "/run/mysqld/init.sql",
		Bind: "*", Port: 3306,
	}
}

func TestRenderGolden(t *testing.T) {
	small := input()
	small.BufferPoolBytes = 32 << 20
	small.User = "root"
	configured := input()
	configured.BufferPoolBytes = 4 << 30
	configured.Options = map[string]string{
		"max_connections":         "500",
		"init-connect":            `SET @a = "x#y\z"`,
		"sql_mode":                "",
		"innodb_buffer_pool_size": "5G",
	}
	for name, in := range map[string]Input{"plain": input(), "small": small, "configured": configured} {
		t.Run(name, func(t *testing.T) {
			got, err := Render(in)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEveryOwnedLineIsRefusedFromUsers(t *testing.T) {
	for _, o := range operatorOptions(input()) {
		if !owned.Owned(o.name) {
			t.Errorf("the operator sets %s, but a user may set it too", o.name)
		}
		in := input()
		in.Options = map[string]string{strings.ReplaceAll(o.name, "_", "-"): "1"}
		if _, err := Render(in); err == nil || !strings.Contains(err.Error(), "belongs to the operator") {
			t.Errorf("%s: %v", o.name, err)
		}
	}
}

func TestRenderRefusesWhatWouldBreakOut(t *testing.T) {
	for name, options := range map[string]map[string]string{
		"line break in value": {"max_connections": "1\nskip_grant_tables"},
		"line break in name":  {"a\nb": "1"},
		"section":             {"[client]": "1"},
		"include":             {"!include": "x"},
		"comment":             {"#x": "1"},
		"empty name":          {"": "1"},
	} {
		in := input()
		in.Options = options
		if got, err := Render(in); err == nil {
			t.Errorf("%s was rendered:\n%s", name, got)
		}
	}
}
