package mysqld

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestQuoteCannotBeLeft(t *testing.T) {
	for in, want := range map[string]string{
		"plain":          `'plain'`,
		`it's`:           `'it''s'`,
		`back\`:          `'back\\'`,
		`\' OR 1=1; -- `: `'\\'' OR 1=1; -- '`,
		"nul\x00byte":    `'nul\0byte'`,
		`"double"`:       `'"double"'`,
		"":               `''`,
	} {
		if got := Quote(in); got != want {
			t.Errorf("Quote(%q) = %s, want %s", in, got, want)
		}
	}
	if got := QuoteName("a`b"); got != "`a``b`" {
		t.Errorf("QuoteName = %s", got)
	}
}

func TestLiteralReadsAnOptionFilesValue(t *testing.T) {
	for in, want := range map[string]string{
		"100": "100", "-1": "-1", "0.5": "0.5", "ON": "'ON'", "64M": "67108864", "1G": "1073741824", "2k": "2048",
		"utf8mb4": "'utf8mb4'", "M": "'M'", "1;DROP": "'1;DROP'", "": "''",
	} {
		if got := literal(in); got != want {
			t.Errorf("literal(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestGrantsKeepApplicationsOutOfTheSystem(t *testing.T) {
	account := "'shop'@'%'"
	all := strings.Join(grants(User{Name: "shop", Writes: true}, account), "\n")
	for _, want := range []string{"ON *.* TO 'shop'@'%'", "ON `mysql`.* FROM", "ON `" + Schema + "`.* FROM"} {
		if !strings.Contains(all, want) {
			t.Errorf("the grants lack %q:\n%s", want, all)
		}
	}
	for _, name := range []string{"SUPER", "GRANT OPTION", "CREATE USER", "CONNECTION_ADMIN", "FILE", "RELOAD", "ALL PRIVILEGES"} {
		if strings.Contains(all, name) {
			t.Errorf("an application account gets %s", name)
		}
	}
	one := grants(User{Name: "shop", Database: "my_db`x"}, account)
	if diff := cmp.Diff([]string{"GRANT SELECT, SHOW VIEW ON `my_db``x`.* TO 'shop'@'%'"}, one); diff != "" {
		t.Error(diff)
	}
}

func TestInitFileLocksMembersAndStaysOutOfTheBinaryLog(t *testing.T) {
	var b bytes.Buffer
	if err := InitFile(&b, "secret", []string{"kapok_peer_0", "kapok_peer_1"}, "", true, ""); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if lines[0] != "SET SESSION sql_log_bin = 0;" {
		t.Errorf("it begins with %q", lines[0])
	}
	text := b.String()
	for _, want := range []string{"REQUIRE SSL ACCOUNT LOCK", "'root'@'localhost' ACCOUNT LOCK", "'kapok_peer_1'@'%'"} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q:\n%s", want, text)
		}
	}
	b.Reset()
	if err := InitFile(&b, "secret", nil, "", false, "mysql"); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "root") {
		t.Error("a later start touches root's account")
	}
}

func TestTheMonitorIsMadeFromNothingOrRemoved(t *testing.T) {
	for password, want := range map[string][]string{
		"": {"DROP USER IF EXISTS 'kapok_monitor'@'localhost';"},
		"secret": {
			"DROP USER IF EXISTS 'kapok_monitor'@'localhost';",
			"CREATE USER 'kapok_monitor'@'localhost' IDENTIFIED WITH caching_sha2_password BY 'secret' WITH MAX_USER_CONNECTIONS 3 PASSWORD EXPIRE NEVER;",
			"GRANT PROCESS, REPLICATION CLIENT ON *.* TO 'kapok_monitor'@'localhost';",
			"GRANT SELECT ON performance_schema.events_statements_summary_by_digest TO 'kapok_monitor'@'localhost';",
			"GRANT SELECT ON performance_schema.replication_applier_status_by_worker TO 'kapok_monitor'@'localhost';",
		},
	} {
		var b strings.Builder
		if err := InitFile(&b, "admin", nil, password, false, ""); err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.SplitSeq(strings.TrimSpace(b.String()), "\n") {
			if strings.Contains(line, Monitor) {
				got = append(got, line)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("with password %q: %q", password, got)
		}
	}
}

func TestParseTime(t *testing.T) {
	if got := parseTime("0000-00-00 00:00:00.000000"); !got.IsZero() {
		t.Errorf("the zero time is %v", got)
	}
	if got := parseTime("2026-11-23 14:00:01.500000"); !got.Equal(time.Date(2026, 11, 23, 14, 0, 1, 5e8, time.UTC)) {
		t.Errorf("a time is read as %v", got)
	}
}
