package artifact

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/image"
	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
)

// kubePrograms are the names by which the one Kubernetes program is called.
func kubePrograms() []string {
	return []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"}
}

// Kube returns the folder of the Kubernetes programs. It serves as envtest's assets folder too.
func (m *Maker) Kube(ctx context.Context) (string, error) {
	dir := filepath.Join(m.source, "kubernetes")
	goMod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("read the module of Kubernetes: %w", err)
	}
	version, err := kubernetesVersion(string(goMod))
	if err != nil {
		return "", err
	}
	ldflags := kubeLDFlags(version)
	key, err := hashFiles(dir, []string{"go.mod", "go.sum", "main.go"}, ldflags)
	if err != nil {
		return "", err
	}
	return m.ensure(ctx, "kubernetes", key, func(ctx context.Context, out string) error {
		m.out.Line("building Kubernetes %s from its Go module (6 to 9 minutes on two cores when Go's build cache is cold; done once)", version)
		if err := m.goBuild(ctx, dir, filepath.Join(out, "kube"), "kubernetes", ldflags); err != nil {
			return err
		}
		for _, p := range kubePrograms() {
			if err := os.Symlink("kube", filepath.Join(out, p)); err != nil {
				return fmt.Errorf("name program: %w", err)
			}
		}
		return nil
	})
}

var kubernetesVersionPattern = regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes (v[0-9]+\.[0-9]+\.[0-9]+\S*)`)

func kubernetesVersion(goMod string) (string, error) {
	match := kubernetesVersionPattern.FindStringSubmatch(goMod)
	if match == nil {
		return "", errors.New("the go.mod of the Kubernetes module names no version of k8s.io/kubernetes")
	}
	return match[1], nil
}

// kubeLDFlags stamps the version, which clients and kubelets ask for, and leaves symbols for debuggers out.
func kubeLDFlags(version string) string {
	numbers := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	flags := []string{"-s", "-w"}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for key, value := range map[string]string{"gitVersion": version, "gitMajor": numbers[0], "gitMinor": numbers[1], "gitTreeState": "clean"} {
			flags = append(flags, "-X "+pkg+"."+key+"="+value)
		}
	}
	// The order of a map's keys is not fixed, and the flags are hashed.
	sort.Strings(flags[2:])
	return strings.Join(flags, " ")
}

// DNS returns the folder of the DNS server.
func (m *Maker) DNS(ctx context.Context) (string, error) {
	dir := filepath.Join(m.source, "coredns")
	key, err := hashFiles(dir, []string{"go.mod", "go.sum", "main.go"})
	if err != nil {
		return "", err
	}
	return m.ensure(ctx, "coredns", key, func(ctx context.Context, out string) error {
		m.out.Line("building CoreDNS from its Go module (about 2 minutes when Go's build cache is cold; done once)")
		return m.goBuild(ctx, dir, filepath.Join(out, "coredns"), "coredns", "-s -w")
	})
}

// Pause returns the archive of the pause image.
func (m *Maker) Pause(ctx context.Context) (string, error) {
	key, err := hashFiles(filepath.Join(m.source, "pause"), []string{"main.go"}, spec.PauseImage)
	if err != nil {
		return "", err
	}
	dir, err := m.ensure(ctx, "pause", key, func(ctx context.Context, out string) error {
		binary := filepath.Join(out, "pause")
		if err := m.goBuild(ctx, filepath.Join(m.source, "pause"), binary, "pause", "-s -w"); err != nil {
			return err
		}
		return image.Write(binary, spec.PauseImage, filepath.Join(out, "pause.tar"))
	})
	return filepath.Join(dir, "pause.tar"), err
}

// goBuild builds the program in the folder, telling from time to time which package is being compiled. The machine's own
// settings of the go command hold, but for those on which the shared build cache depends.
func (m *Maker) goBuild(ctx context.Context, dir, to, label, ldflags string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-v", "-trimpath", "-ldflags", ldflags, "-o", to, ".")
	cmd.Dir = dir
	// GOGC: a third less time for a few hundred megabytes more memory.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOGC=400")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("run go build: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run go build: %w", err)
	}
	tail := m.follow(stderr, label)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("go build in %s: %w\n%s", dir, err, strings.Join(tail, "\n"))
	}
	return nil
}

// follow reads the compiler's lines, prints one every ten seconds, and returns the last ones.
func (m *Maker) follow(r io.Reader, label string) []string {
	const keep = 20
	var tail []string
	compiled, printed := 0, time.Now()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		tail = append(tail, line)
		if len(tail) > keep {
			tail = tail[1:]
		}
		if !strings.HasPrefix(line, "go: ") && !strings.Contains(line, " ") {
			compiled++
		}
		if time.Since(printed) > 10*time.Second {
			m.out.Line("%s: %d packages done, now %s", label, compiled, line)
			printed = time.Now()
		}
	}
	return tail
}
