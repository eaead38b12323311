package source

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseOneLine(t *testing.T) {
	tests := map[string]struct {
		text string
		want []Entry
	}{
		"plain line": {
			text: "deb http://mirror.example/debian bookworm main contrib\n",
			want: []Entry{{URIs: []string{"http://mirror.example/debian"}, Suites: []string{"bookworm"}, Components: []string{"main", "contrib"}}},
		},
		"options in brackets": {
			text: "deb [arch=amd64 signed-by=/k.gpg trusted=yes] http://mirror.example/debian sid main # remark\n",
			want: []Entry{{
				URIs: []string{"http://mirror.example/debian"}, Suites: []string{"sid"}, Components: []string{"main"}, SignedBy: "/k.gpg", Trusted: true,
			}},
		},
		"source packages, comments and blanks are skipped": {
			text: "# deb http://a.example x main\n\ndeb-src http://mirror.example/debian sid main\n",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseOneLine(test.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseOneLineRefusesBrokenLines(t *testing.T) {
	for _, text := range []string{"deb [arch=amd64 http://a.example sid main\n", "deb http://a.example\n"} {
		if got, err := ParseOneLine(text); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

func TestParseDeb822(t *testing.T) {
	text := `# the archive
Types: deb deb-src
# a comment between fields
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

Types: deb
URIs: http://off.example/debian
Suites: bookworm
Enabled: no

types: deb-src
uris: http://src.example/debian
suites: bookworm
`
	want := []Entry{{
		URIs: []string{"http://mirror.example/debian"}, Suites: []string{"bookworm", "bookworm-updates"}, Components: []string{"main"},
		SignedBy: "-----BEGIN PGP PUBLIC KEY BLOCK-----\n.\nabc",
	}}
	got, err := ParseDeb822(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if again, err := ParseDeb822(got[0].Stanza("bookworm bookworm-updates", "main")); err != nil || !cmp.Equal(want, again) {
		t.Errorf("a written stanza does not read back: %v %v", again, err)
	}
}

func TestDebianArchive(t *testing.T) {
	foreign := Entry{URIs: []string{"http://tools.example"}, Suites: []string{"nodistro"}, Components: []string{"main"}}
	security := Entry{URIs: []string{"http://mirror.example/security"}, Suites: []string{"bookworm-security"}, Components: []string{"main"}}
	archive := Entry{URIs: []string{"http://mirror.example/debian"}, Suites: []string{"bookworm-updates", "bookworm"}, Components: []string{"main"}}
	future := Entry{URIs: []string{"http://mirror.example/debian"}, Suites: []string{"zurg"}, Components: []string{"main"}}
	contrib := Entry{URIs: []string{"http://contrib.example"}, Suites: []string{"bookworm"}, Components: []string{"contrib"}}

	tests := map[string]struct {
		entries  []Entry
		codename string
		want     Entry
		wantErr  bool
	}{
		"security and foreign sources are passed over":  {entries: []Entry{foreign, security, contrib, archive}, want: archive},
		"a release unknown here is known by os-release": {entries: []Entry{foreign, future}, codename: "zurg", want: future},
		"an empty code name matches nothing":            {entries: []Entry{{Suites: []string{""}, Components: []string{"main"}}}, wantErr: true},
		"a machine without a Debian archive is told so": {entries: []Entry{foreign, security}, wantErr: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := DebianArchive(test.entries, test.codename)
			if (err != nil) != test.wantErr {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestStanzaNamesTheOtherSuiteOfTheSameArchive(t *testing.T) {
	entry := Entry{URIs: []string{"http://mirror.example/debian"}, Suites: []string{"bookworm"}, SignedBy: "/k.gpg"}
	want := "Types: deb\nURIs: http://mirror.example/debian\nSuites: sid\nComponents: main\nSigned-By: /k.gpg\n"
	if diff := cmp.Diff(want, entry.Stanza("sid", "main")); diff != "" {
		t.Error(diff)
	}
}
