// Package links checks that what the documents point at within the repository is there.
package links

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

var (
	// link is a Markdown link or image; its target ends at a blank or the closing bracket.
	link = regexp.MustCompile(`\]\(([^)\s]+)[^)]*\)`)
	// decoration is what a heading's text may be wrapped in.
	decoration = regexp.MustCompile("[`*]|\\[|\\]\\([^)]*\\)")
)

// Check reads the Markdown files (names relative to root) and says which relative links lead nowhere.
func Check(root string, files []string) ([]string, error) {
	var problems []string
	anchors := map[string][]string{}
	for _, name := range files {
		if filepath.Ext(name) != ".md" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // Tracked and deleted, not yet committed.
		}
		if err != nil {
			return nil, fmt.Errorf("read a document: %w", err)
		}
		for number, line := range prose(string(text)) {
			for _, match := range link.FindAllStringSubmatch(line, -1) {
				if problem := follow(root, name, match[1], anchors); problem != "" {
					problems = append(problems, fmt.Sprintf("%s:%d: %s", name, number+1, problem))
				}
			}
		}
	}
	return problems, nil
}

// prose returns the lines of a document with those of code blocks emptied.
func prose(text string) []string {
	lines := strings.Split(text, "\n")
	code := false
	for i, line := range lines {
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		if fence || code {
			lines[i] = ""
		}
		code = code != fence
	}
	return lines
}

// follow says what is wrong with a link in a document; nothing, if it leads out of the repository.
func follow(root, from, target string, anchors map[string][]string) string {
	if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
		return ""
	}
	path, anchor, _ := strings.Cut(target, "#")
	file := filepath.Join(root, from)
	if path != "" {
		file = filepath.Join(filepath.Dir(file), filepath.FromSlash(path))
	}
	if _, err := os.Stat(file); err != nil {
		return fmt.Sprintf("the link %s leads nowhere", target)
	}
	if anchor == "" || filepath.Ext(file) != ".md" {
		return ""
	}
	if _, known := anchors[file]; !known {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Sprintf("the link %s cannot be followed: %v", target, err)
		}
		anchors[file] = headings(string(text))
	}
	if !slices.Contains(anchors[file], anchor) {
		return fmt.Sprintf("the link %s names a heading that is not there", target)
	}
	return ""
}

// headings returns the anchors of a document's headings, as the usual renderers make them.
func headings(text string) []string {
	found := []string{}
	for _, line := range prose(text) {
		marks := len(line) - len(strings.TrimLeft(line, "#"))
		if marks == 0 || marks > 6 || !strings.HasPrefix(line[marks:], " ") {
			continue
		}
		found = append(found, slug(decoration.ReplaceAllString(strings.TrimSpace(line[marks:]), "")))
	}
	return found
}

func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		default:
			return -1
		}
	}, heading)
}
