// Package source reads the machine's apt sources and picks the Debian archive among them, so that no mirror is ever
// named by this repository. Everything here is pure: text in, values out.
package source

import (
	"bufio"
	"fmt"
	"slices"
	"strings"
)

// Entry is one package source of the machine.
type Entry struct {
	// URIs are the addresses of the archive, in the order in which they were given.
	URIs []string
	// Suites are the distributions that the machine takes from it.
	Suites []string
	// Components are the archive areas, such as main.
	Components []string
	// SignedBy is a keyring's path, or an ASCII-armoured key block; empty means apt's default keyrings.
	SignedBy string
	// Trusted tells that the machine's administrator switched signature checks off for this source.
	Trusted bool
}

// ParseOneLine reads the traditional format, one source a line. Lines that are no binary package source are skipped.
func ParseOneLine(text string) ([]Entry, error) {
	var entries []Entry
	for n, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		rest, isDeb := strings.CutPrefix(line, "deb")
		if !isDeb || rest == "" || !strings.ContainsAny(rest[:1], " \t[") {
			continue
		}
		entry, err := parseLine(strings.TrimSpace(rest))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

func parseLine(rest string) (Entry, error) {
	var entry Entry
	if after, found := strings.CutPrefix(rest, "["); found {
		options, remainder, closed := strings.Cut(after, "]")
		if !closed {
			return Entry{}, fmt.Errorf("the option list has no closing bracket")
		}
		for option := range strings.FieldsSeq(options) {
			key, value, _ := strings.Cut(option, "=")
			entry.option(key, value)
		}
		rest = remainder
	}
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		return Entry{}, fmt.Errorf("a source needs an address and a suite")
	}
	entry.URIs = fields[:1]
	entry.Suites = fields[1:2]
	entry.Components = fields[2:]
	return entry, nil
}

// ParseDeb822 reads the stanza format. Disabled stanzas and sources of source packages are skipped.
func ParseDeb822(text string) ([]Entry, error) {
	var entries []Entry
	for _, stanza := range stanzas(text) {
		if isNo(stanza["enabled"]) || !slices.Contains(strings.Fields(stanza["types"]), "deb") {
			continue
		}
		entry := Entry{
			URIs:       strings.Fields(stanza["uris"]),
			Suites:     strings.Fields(stanza["suites"]),
			Components: strings.Fields(stanza["components"]),
		}
		entry.option("signed-by", stanza["signed-by"])
		entry.option("trusted", stanza["trusted"])
		if len(entry.URIs) == 0 || len(entry.Suites) == 0 {
			return nil, fmt.Errorf("a stanza of type deb lacks URIs or Suites")
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

// stanzas splits deb822 text into fields with lower-case names; comment lines may stand anywhere.
func stanzas(text string) []map[string]string {
	var all []map[string]string
	current := map[string]string{}
	name := ""
	flush := func() {
		if len(current) > 0 {
			all = append(all, current)
		}
		current, name = map[string]string{}, ""
	}
	scanner := bufio.NewScanner(strings.NewReader(text))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		line := scanner.Text()
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			flush()
		case line[0] == ' ' || line[0] == '\t':
			if name != "" {
				current[name] += "\n" + strings.TrimSpace(line)
			}
		default:
			key, value, _ := strings.Cut(line, ":")
			name = strings.ToLower(strings.TrimSpace(key))
			current[name] = strings.TrimSpace(value)
		}
	}
	flush()
	return all
}

func (e *Entry) option(key, value string) {
	switch strings.ToLower(key) {
	case "signed-by":
		e.SignedBy = strings.TrimSpace(value)
	case "trusted":
		e.Trusted = slices.Contains([]string{"yes", "true", "1", "on"}, strings.ToLower(strings.TrimSpace(value)))
	}
}

func isNo(value string) bool {
	return slices.Contains([]string{"no", "false", "0", "off", "disable"}, strings.ToLower(strings.TrimSpace(value)))
}

// DebianArchive picks the source that carries Debian itself: the first whose suite is a Debian release and whose
// components include main. Security and update pockets are passed over, because the archive's other suites, sid among
// them, do not lie beside them.
func DebianArchive(entries []Entry, releaseCodename string) (Entry, error) {
	suites := append([]string{"sid", "unstable", "testing", "stable", "oldstable", "bookworm", "trixie", "forky", "duke"}, releaseCodename)
	for _, entry := range entries {
		carries := slices.ContainsFunc(entry.Suites, func(s string) bool { return s != "" && slices.Contains(suites, s) })
		if carries && slices.Contains(entry.Components, "main") {
			return entry, nil
		}
	}
	return Entry{}, fmt.Errorf("none of the machine's %d apt sources carries the main area of a Debian release", len(entries))
}

// Stanza writes the entry as a deb822 stanza for one suite of the same archive.
func (e Entry) Stanza(suite string, components ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\n", strings.Join(e.URIs, " "), suite, strings.Join(components, " "))
	if e.SignedBy != "" {
		lines := strings.Split(e.SignedBy, "\n")
		fmt.Fprintf(&b, "Signed-By: %s\n", lines[0])
		for _, line := range lines[1:] {
			fmt.Fprintf(&b, " %s\n", line)
		}
	}
	if e.Trusted {
		b.WriteString("Trusted: yes\n")
	}
	return b.String()
}
