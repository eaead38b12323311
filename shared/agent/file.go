package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrCorrupt is returned when a state file exists but is not what was saved.
var ErrCorrupt = errors.New("state file is corrupt")

// WriteFileAtomic replaces a file so that after a crash or a power loss it holds
// either all of the old or all of the new content, and after it has returned
// the new one. The file and its folder are synced.
func WriteFileAtomic(path string, data []byte, perm fs.FileMode) error {
	return replaceFile(path, perm, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// replaceFile writes a temporary file beside path, syncs it, moves it into
// place and syncs the folder.
func replaceFile(path string, perm fs.FileMode, fill func(*os.File) error) (err error) {
	dir := filepath.Dir(path)
	// The leading dot keeps the temporary file out of globs.
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	temp := f.Name()
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(temp)
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if err := fill(f); err != nil {
		return err
	}
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open folder to sync: %w", err)
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

// sealed is the form of a state file: readable, and able to tell that it is whole.
type sealed struct {
	SHA256 string          `json:"sha256"`
	Data   json.RawMessage `json:"data"`
}

// SaveJSON durably replaces a state file by v with a checksum.
func SaveJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode state for %s: %w", path, err)
	}
	out, err := json.Marshal(sealed{SHA256: checksum(data), Data: data})
	if err != nil {
		return fmt.Errorf("encode state for %s: %w", path, err)
	}
	return WriteFileAtomic(path, append(out, '\n'), 0o600)
}

// LoadJSON reads a state file into v. It wraps fs.ErrNotExist if there is none
// and ErrCorrupt if it is torn or was changed by hand; v is untouched then.
func LoadJSON(path string, v any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	var s sealed
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("read state %s: %w: %w", path, ErrCorrupt, err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, s.Data); err != nil {
		return fmt.Errorf("read state %s: %w: %w", path, ErrCorrupt, err)
	}
	if checksum(compact.Bytes()) != s.SHA256 {
		return fmt.Errorf("read state %s: %w: the checksum differs", path, ErrCorrupt)
	}
	if err := json.Unmarshal(s.Data, v); err != nil {
		return fmt.Errorf("decode state %s: %w", path, err)
	}
	return nil
}

func checksum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Install copies an executable, usually the agent's own (os.Executable), to
// dst, from where another container of the pod runs it. It is atomic, and does
// nothing if dst is the same already.
func Install(src, dst string) error {
	same, err := sameContent(src, dst)
	if err != nil {
		return fmt.Errorf("install %s: %w", dst, err)
	}
	if same {
		if err := os.Chmod(dst, 0o555); err != nil {
			return fmt.Errorf("install %s: %w", dst, err)
		}
		return nil
	}
	in, err := os.Open(src)
	if err != nil {
		return fmt.Errorf("install %s: %w", dst, err)
	}
	defer func() { _ = in.Close() }()
	return replaceFile(dst, 0o555, func(f *os.File) error {
		_, err := io.Copy(f, in)
		return err
	})
}

// sameContent compares two files; a missing dst is a difference, not an error.
func sameContent(src, dst string) (bool, error) {
	a, err := digest(src)
	if err != nil {
		return false, err
	}
	b, err := digest(dst)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return a == b, nil
}

func digest(path string) ([sha256.Size]byte, error) {
	var out [sha256.Size]byte
	f, err := os.Open(path)
	if err != nil {
		return out, fmt.Errorf("read executable: %w", err)
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return out, fmt.Errorf("read executable: %w", err)
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
