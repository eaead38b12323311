// Package debian resolves and downloads Debian packages of a suite that the machine itself need not run. It works in a
// private apt state folder, so nothing is installed on the machine and its own package lists stay as they are; the
// mirror and the keyring are those of the machine's apt sources.
package debian

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kapok-operators/kapok/hack/images/internal/cache"
	"github.com/kapok-operators/kapok/hack/images/internal/progress"
	"github.com/kapok-operators/kapok/hack/images/internal/source"
)

// How long the steps may take before they count as stuck.
const (
	updateTimeout   = 5 * time.Minute
	resolveTimeout  = 5 * time.Minute
	downloadTimeout = 20 * time.Minute
)

// ErrGone tells that packages which the list names could not be downloaded, as happens when the suite has moved on.
var ErrGone = errors.New("a package is no longer on the mirror, or the mirror cannot be reached")

// archiveKeyrings are the places where Debian installs its archive keys, newest first.
func archiveKeyrings() []string {
	return []string{"/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg"}
}

// Suite is one Debian suite seen through a private apt state folder.
type Suite struct {
	name  string
	cache cache.Dir
	log   *progress.Log
	dir   string
}

// NewSuite prepares the private state folder of a suite.
func NewSuite(name string, dir cache.Dir, log *progress.Log) *Suite {
	return &Suite{name: name, cache: dir, log: log, dir: dir.Path("apt", name)}
}

// Preflight tells whether the machine has the two tools that are needed.
func Preflight() error {
	var missing []string
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, tool)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s not found: operand images are assembled from Debian packages, so run this on Debian, or use the official images (CLUSTER=kind)", strings.Join(missing, " and "))
	}
	return nil
}

// Update fetches the suite's package list anew and checks its signature.
func (s *Suite) Update(ctx context.Context) error {
	entry, err := machineArchive()
	if err != nil {
		return err
	}
	if err := s.writeState(entry); err != nil {
		return err
	}
	if entry.Trusted {
		s.log.Step("note: the machine's apt sources say trusted=yes, so signatures of suite %s are not checked", s.name)
	}
	s.log.Step("fetching the package list of Debian %s", s.name)
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	// Without this option a list that could not be fetched is a warning only, and the next step fails with a riddle.
	if _, err := s.apt(ctx, "", "-o", "APT::Update::Error-Mode=any", "-qq", "update"); err != nil {
		return fmt.Errorf("fetch the package list of Debian %s from the machine's mirror: %w", s.name, err)
	}
	return cache.WriteFile(filepath.Join(s.dir, "updated"), func(w io.Writer) error {
		_, err := fmt.Fprintln(w, time.Now().UTC().Format(time.RFC3339))
		return err
	})
}

// Closure resolves the packages with all that they depend on, without recommendations, as on an empty system.
func (s *Suite) Closure(ctx context.Context, names []string) ([]Package, error) {
	if !cache.Exists(filepath.Join(s.dir, "updated")) {
		if err := s.Update(ctx); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	out, err := s.apt(ctx, "", append([]string{"-qq", "-y", "--print-uris", "install"}, names...)...)
	if err != nil {
		return nil, fmt.Errorf("resolve %s in Debian %s: %w", strings.Join(names, ", "), s.name, err)
	}
	packages, err := ParseURIs(out)
	if err != nil {
		return nil, err
	}
	if len(packages) == 0 {
		return nil, fmt.Errorf("resolve %s in Debian %s: apt named no package", strings.Join(names, ", "), s.name)
	}
	return packages, nil
}

// File is where a package's archive lies once it was fetched.
func (s *Suite) File(pkg Package) string {
	return s.cache.Path("debs", pkg.SHA256+".deb")
}

// Fetch downloads the packages that are not in the cache yet, and verifies each by its hash.
func (s *Suite) Fetch(ctx context.Context, packages []Package) error {
	var names []string
	var missing []Package
	var total int64
	for _, pkg := range packages {
		if !cache.Exists(s.File(pkg)) {
			missing = append(missing, pkg)
			names = append(names, pkg.Name+"="+pkg.Version)
			total += pkg.Size
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if err := os.MkdirAll(s.cache.Path("debs"), 0o755); err != nil {
		return fmt.Errorf("create the package folder: %w", err)
	}
	temp, err := os.MkdirTemp(s.cache.Path("debs"), ".part-*")
	if err != nil {
		return fmt.Errorf("create a download folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(temp) }()

	s.log.Step("downloading %d packages, %.1f MB", len(missing), float64(total)/1e6)
	stop := s.log.Every(5*time.Second, func() string {
		return fmt.Sprintf("downloading: %.1f of %.1f MB", float64(folderSize(temp))/1e6, float64(total)/1e6)
	})
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()
	if _, err := s.apt(ctx, temp, append([]string{"-qq", "download"}, names...)...); err != nil {
		return fmt.Errorf("download %d packages of Debian %s: %w: %w", len(missing), s.name, ErrGone, err)
	}
	return s.adopt(temp, missing)
}

// adopt moves downloaded archives to their final names, each after its hash was checked.
func (s *Suite) adopt(temp string, packages []Package) error {
	files, err := filepath.Glob(filepath.Join(temp, "*.deb"))
	if err != nil {
		return fmt.Errorf("list the downloads: %w", err)
	}
	byHash := make(map[string]string, len(files))
	for _, file := range files {
		sum, err := hashFile(file)
		if err != nil {
			return err
		}
		byHash[sum] = file
	}
	for _, pkg := range packages {
		file, found := byHash[pkg.SHA256]
		if !found {
			return fmt.Errorf("package %s %s: no download has the hash that the archive announced", pkg.Name, pkg.Version)
		}
		if err := os.Rename(file, s.File(pkg)); err != nil {
			return fmt.Errorf("keep package %s: %w", pkg.Name, err)
		}
	}
	return nil
}

// Contents streams the package's files as a tar archive; none of its maintainer scripts is run.
func (s *Suite) Contents(ctx context.Context, pkg Package, read func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", s.File(pkg))
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("unpack %s: %w", pkg.Name, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("unpack %s: %w", pkg.Name, err)
	}
	readErr := read(out)
	if readErr == nil {
		_, readErr = io.Copy(io.Discard, out)
	}
	if readErr != nil {
		cancel()
	}
	if err := cmd.Wait(); err != nil || readErr != nil {
		return fmt.Errorf("unpack %s: %w %s", pkg.Name, errors.Join(readErr, err), strings.TrimSpace(stderr.String()))
	}
	return nil
}

// apt runs apt-get with the private configuration and returns what it printed.
func (s *Suite) apt(ctx context.Context, dir string, args ...string) (string, error) {
	args = append([]string{"-c", filepath.Join(s.dir, "apt.conf")}, args...)
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	// apt starts helpers for the transfers; a group of its own lets a time-out end them all.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return "", fmt.Errorf("%w: %s", err, lastLines(stderr.String(), 6))
	}
	return stdout.String(), nil
}

func (s *Suite) writeState(entry source.Entry) error {
	for _, dir := range []string{"lists/partial", "none/partial", "parts", "preferences"} {
		if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o755); err != nil {
			return fmt.Errorf("create the private apt state folder: %w", err)
		}
	}
	files := map[string]string{
		"parts/kapok.sources": entry.Stanza(s.name, "main"),
		"status":              "",
		"apt.conf":            configuration(s.dir),
	}
	for name, text := range files {
		err := cache.WriteFile(filepath.Join(s.dir, name), func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// configuration is read after the machine's own apt settings, so that proxies and credentials stay in force.
func configuration(dir string) string {
	settings := []string{
		// The machine's hooks would tidy and refresh the machine's own state.
		`#clear APT::Update::Pre-Invoke;`, `#clear APT::Update::Post-Invoke;`, `#clear APT::Update::Post-Invoke-Success;`,
		`#clear Acquire::IndexTargets::deb::DEP-11;`,
		fmt.Sprintf(`Dir::State %q;`, dir),
		`Dir::State::lists "lists";`,
		fmt.Sprintf(`Dir::State::status %q;`, filepath.Join(dir, "status")),
		fmt.Sprintf(`Dir::Cache %q;`, dir),
		// apt leaves out of its list what already lies in its archive folder, so that one stays empty for ever.
		`Dir::Cache::archives "none";`,
		`Dir::Etc::sourcelist "/dev/null";`,
		fmt.Sprintf(`Dir::Etc::sourceparts %q;`, filepath.Join(dir, "parts")),
		`Dir::Etc::preferences "/dev/null";`,
		fmt.Sprintf(`Dir::Etc::preferencesparts %q;`, filepath.Join(dir, "preferences")),
		// Snapshots of the archive carry an expired date.
		`Acquire::Check-Valid-Until "false";`,
		`Acquire::ForceHash "SHA256";`,
		`Acquire::Languages "none";`,
		`Acquire::Retries "3";`, `Acquire::http::Timeout "30";`, `Acquire::https::Timeout "30";`,
		`APT::Install-Recommends "false";`,
		// The download user of the machine need not be able to enter the cache folder.
		`APT::Sandbox::User "root";`,
	}
	return strings.Join(settings, "\n") + "\n"
}

// machineArchive reads the machine's apt sources. KAPOK_DEBIAN_MIRROR names an archive where the machine has none.
func machineArchive() (source.Entry, error) {
	if mirror := os.Getenv("KAPOK_DEBIAN_MIRROR"); mirror != "" {
		return source.Entry{URIs: []string{mirror}, SignedBy: installedKeyring()}, nil
	}
	entries, err := machineSources("/etc/apt")
	if err != nil {
		return source.Entry{}, err
	}
	entry, err := source.DebianArchive(entries, codename())
	if err != nil {
		return source.Entry{}, fmt.Errorf("%w; name one in KAPOK_DEBIAN_MIRROR", err)
	}
	if entry.SignedBy == "" && !entry.Trusted {
		entry.SignedBy = installedKeyring()
	}
	return entry, nil
}

func machineSources(etc string) ([]source.Entry, error) {
	files := []string{filepath.Join(etc, "sources.list")}
	for _, pattern := range []string{"*.sources", "*.list"} {
		more, err := filepath.Glob(filepath.Join(etc, "sources.list.d", pattern))
		if err != nil {
			return nil, fmt.Errorf("list the machine's apt sources: %w", err)
		}
		files = append(files, more...)
	}
	var entries []source.Entry
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the machine's apt sources: %w", err)
		}
		parse := source.ParseOneLine
		if strings.HasSuffix(file, ".sources") {
			parse = source.ParseDeb822
		}
		more, err := parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("read apt source file %s: %w", filepath.Base(file), err)
		}
		entries = append(entries, more...)
	}
	return entries, nil
}

func installedKeyring() string {
	i := slices.IndexFunc(archiveKeyrings(), cache.Exists)
	if i < 0 {
		return ""
	}
	return archiveKeyrings()[i]
}

func codename() string {
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return ""
	}
	values := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[key] = strings.Trim(value, `"'`)
	}
	if values["ID"] != "debian" {
		return ""
	}
	return values["VERSION_CODENAME"]
}

func hashFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("open a download: %w", err)
	}
	defer func() { _ = file.Close() }()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", fmt.Errorf("hash a download: %w", err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

func folderSize(dir string) (size int64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil {
			size += info.Size()
		}
	}
	return size
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}
