package debian

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sum = "cdee7273fe92dad870fa6c7e3a8aa5b4001a8ddeffccb0958e1607bf15879803"

func TestParseURIs(t *testing.T) {
	text := "NOTE: something\n" +
		"'http://mirror.example/pool/z/zlib1g_1%3a1.3_amd64.deb' zlib1g_1%3a1.3_amd64.deb 90000 SHA256:" + sum + "\n" +
		"'http://mirror.example/pool/d/debconf_1.5_all.deb' debconf_1.5_all.deb 122512 SHA256:" + sum + "\n"
	want := []Package{
		{Name: "debconf", Version: "1.5", Arch: "all", Size: 122512, SHA256: sum},
		{Name: "zlib1g", Version: "1:1.3", Arch: "amd64", Size: 90000, SHA256: sum},
	}
	got, err := ParseURIs(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseURIsRefusesWhatCannotBeVerified(t *testing.T) {
	tests := map[string]string{
		"weak hash":      "'http://m.example/a_1_all.deb' a_1_all.deb 1 MD5Sum:" + sum,
		"no hash":        "'http://m.example/a_1_all.deb' a_1_all.deb 1",
		"truncated hash": "'http://m.example/a_1_all.deb' a_1_all.deb 1 SHA256:" + sum[:10],
		"odd file name":  "'http://m.example/a.deb' a.deb 1 SHA256:" + sum,
		"no size":        "'http://m.example/a_1_all.deb' a_1_all.deb many SHA256:" + sum,
	}
	for name, line := range tests {
		t.Run(name, func(t *testing.T) {
			if got, err := ParseURIs(line); err == nil {
				t.Errorf("read as %v", got)
			}
		})
	}
}

func TestWithoutLeavesOutNamedAndLowerPackages(t *testing.T) {
	libc := Package{Name: "libc6", Version: "2.43"}
	newer := Package{Name: "libc6", Version: "2.44"}
	perl := Package{Name: "perl", Version: "5"}
	server := Package{Name: "server", Version: "9"}
	got := Without([]Package{libc, perl, server}, []string{"perl"}, []Package{libc})
	if diff := cmp.Diff([]Package{server}, got); diff != "" {
		t.Error(diff)
	}
	// A version that differs from the lower layer's has to come along.
	got = Without([]Package{newer, server}, nil, []Package{libc})
	if diff := cmp.Diff([]Package{newer, server}, got); diff != "" {
		t.Error(diff)
	}
}

func TestConfigurationKeepsToItself(t *testing.T) {
	text := configuration("/private")
	for _, want := range []string{
		`Dir::State "/private";`, `Dir::State::status "/private/status";`, `Dir::Cache "/private";`, `Dir::Etc::sourceparts "/private/parts";`,
		`Dir::Etc::sourcelist "/dev/null";`, `#clear APT::Update::Post-Invoke;`, `Acquire::Check-Valid-Until "false";`, `Acquire::ForceHash "SHA256";`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("lacks %s", want)
		}
	}
	if strings.Contains(text, "AllowUnauthenticated") || strings.Contains(text, "AllowInsecure") {
		t.Error("signatures must be checked")
	}
}
