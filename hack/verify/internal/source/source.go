// Package source looks through the tracked files for what must not stand in them.
package source

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// complexity are the linters that ask for a simpler function. Silencing one hides the very function that needs to be
// taken apart, so it is forbidden rather than explained.
var complexity = regexp.MustCompile(`//\s*nolint:[^/]*\b(gocognit|gocyclo|cyclop|funlen|nestif|maintidx|revive)\b`)

// Check reads the files (names relative to root) and says where something forbidden stands. machine holds strings that
// belong to this machine alone.
func Check(root string, files, machine []string) ([]string, error) {
	var problems []string
	for _, name := range files {
		data, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // Tracked and deleted, not yet committed.
		}
		if err != nil {
			return nil, fmt.Errorf("read a tracked file: %w", err)
		}
		if bytes.IndexByte(data, 0) >= 0 {
			continue
		}
		for i, line := range strings.Split(string(data), "\n") {
			where := fmt.Sprintf("%s:%d: ", name, i+1)
			if strings.HasSuffix(name, ".go") && complexity.MatchString(line) {
				problems = append(problems, where+"a complexity linter is silenced: take the function apart instead")
			}
			for _, own := range machine {
				if standsIn(line, own) {
					problems = append(problems, where+"names "+own+", which belongs to this machine: derive it from its settings")
				}
			}
		}
	}
	slices.Sort(problems)
	return problems, nil
}

// standsIn reports whether text stands in line as a whole: not as the tail of a longer host name or path.
func standsIn(line, text string) bool {
	for from := 0; ; {
		at := strings.Index(line[from:], text)
		if at < 0 {
			return false
		}
		at += from
		if at == 0 || !continues(line[at-1]) {
			return true
		}
		from = at + 1
	}
}

// continues reports whether a byte before a match makes it part of something longer.
func continues(b byte) bool {
	return b == '-' || b == '.' || b == '_' ||
		b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}
