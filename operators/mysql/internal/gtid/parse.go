package gtid

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	// maxNumber is the largest transaction number that MySQL gives out.
	maxNumber = 1<<63 - 2
	// maxTag is the longest tag that MySQL allows.
	maxTag = 32
	// uuidLength is the length of a UUID with hyphens.
	uuidLength = 36
)

// Parse reads a GTID set as MySQL prints or accepts it: blanks and line breaks between the parts, upper case and
// overlapping intervals are fine. Anything that is not a GTID set is an error; nothing is ever left out silently.
func Parse(text string) (Set, error) {
	runs := make(map[source][]interval)
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		if err := parseServer(part, runs); err != nil {
			return Set{}, fmt.Errorf("parse GTID set: %w", err)
		}
	}
	for src := range runs {
		runs[src] = normalise(runs[src])
	}
	return Set{runs: runs}, nil
}

// parseServer reads uuid[:tag]:interval[:interval]...[:tag:interval...] into runs.
func parseServer(part string, runs map[source][]interval) error {
	fields := strings.Split(part, ":")
	uuid, err := parseUUID(strings.TrimSpace(fields[0]))
	if err != nil {
		return err
	}
	src, pending := source{uuid: uuid}, true
	for _, field := range fields[1:] {
		field = strings.ToLower(strings.TrimSpace(field))
		if isTag(field) {
			if pending && src.tag != "" {
				return fmt.Errorf("tag %q of %s has no transactions", src.tag, uuid)
			}
			src.tag, pending = field, true
			continue
		}
		run, err := parseInterval(field)
		if err != nil {
			return fmt.Errorf("server %s: %w", uuid, err)
		}
		runs[src] = append(runs[src], run)
		pending = false
	}
	if pending {
		return fmt.Errorf("%q ends without a transaction number", part)
	}
	return nil
}

// parseUUID accepts the usual form with hyphens and returns it in lower case.
func parseUUID(text string) (string, error) {
	if len(text) != uuidLength {
		return "", fmt.Errorf("%q is not a server UUID", text)
	}
	text = strings.ToLower(text)
	for i := range len(text) {
		c := text[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return "", fmt.Errorf("%q is not a server UUID", text)
			}
		default:
			if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
				return "", fmt.Errorf("%q is not a server UUID", text)
			}
		}
	}
	return text, nil
}

// isTag says whether a lower-case field is a tag: a letter or underscore, then letters, digits and underscores.
func isTag(field string) bool {
	if field == "" || len(field) > maxTag {
		return false
	}
	for i := range len(field) {
		c := field[i]
		letter := c == '_' || 'a' <= c && c <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// parseInterval reads "7" or "7-9".
func parseInterval(field string) (interval, error) {
	low, high, ranged := strings.Cut(field, "-")
	first, err := parseNumber(strings.TrimSpace(low))
	if err != nil {
		return interval{}, err
	}
	if !ranged {
		return interval{first, first}, nil
	}
	last, err := parseNumber(strings.TrimSpace(high))
	if err != nil {
		return interval{}, err
	}
	if last < first {
		return interval{}, fmt.Errorf("interval %q ends before it begins", field)
	}
	return interval{first, last}, nil
}

// parseNumber reads a transaction number.
func parseNumber(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 || n > maxNumber || text[0] == '+' {
		return 0, fmt.Errorf("%q is not a transaction number", text)
	}
	return n, nil
}
