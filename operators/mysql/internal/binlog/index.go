package binlog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Index is the file that lists the binary log's files, oldest first.
const Index = "binlog.index"

// Files returns the paths of the binary log's files in a data folder, oldest first.
func Files(dataDir string) ([]string, error) {
	raw, err := os.ReadFile(filepath.Join(dataDir, Index))
	if err != nil {
		return nil, fmt.Errorf("read the index of the binary log: %w", err)
	}
	var files []string
	for line := range strings.Lines(string(raw)) {
		name := filepath.Base(strings.TrimSpace(line))
		if !strings.HasPrefix(name, "binlog.") || !strings.HasSuffix(line, "\n") {
			return nil, wrong("the index of the binary log is damaged")
		}
		files = append(files, filepath.Join(dataDir, name))
	}
	if len(files) == 0 {
		return nil, wrong("the binary log has no file")
	}
	return files, nil
}
