package testkit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

func TestMissingBinariesAreExplained(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for folder, want := range map[string]string{"": "is not set", dir: "does not hold kubectl", "/nonexistent": "does not hold etcd"} {
		_, err := kubeBin(folder)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), EnvKubeBin) || !strings.Contains(err.Error(), "make test") {
			t.Errorf("folder %q: got %v, want %q and what to do", folder, err, want)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := kubeBin(dir); err == nil || !strings.Contains(err.Error(), "not an executable") {
		t.Errorf("a file without the execute bit: got %v", err)
	}
	t.Setenv(EnvKubeBin, "")
	if _, err := NewEnv(EnvOptions{Scheme: scheme.Scheme}); err == nil || !strings.Contains(err.Error(), EnvKubeBin) {
		t.Errorf("NewEnv without the variable: %v", err)
	}
}

func TestEnvServes(t *testing.T) {
	env := StartEnv(t, EnvOptions{Scheme: scheme.Scheme})
	if err := env.Client.Apply(t.Context(), corev1ac.ConfigMap("x", "default").WithData(map[string]string{"a": "b"}), client.FieldOwner("test")); err != nil {
		t.Fatal(err)
	}
	var cm corev1.ConfigMap
	if err := env.Client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "x"}, &cm); err != nil || cm.Data["a"] != "b" {
		t.Errorf("read back %v, %v", cm.Data, err)
	}
}

// spy notes failures instead of failing.
type spy struct {
	testing.TB
	failed string
}

func (s *spy) Helper() {}

func (s *spy) Errorf(format string, args ...any) { s.failed = fmt.Sprintf(format, args...) }

func (s *spy) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func TestGolden(t *testing.T) {
	t.Chdir(t.TempDir())
	s := &spy{TB: t}
	func() {
		defer func() {
			if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "-update") {
				t.Errorf("a missing golden file: %v", r)
			}
		}()
		Golden(s, false, "plans/one.golden", []byte("a\n"))
	}()
	Golden(s, true, "plans/one.golden", []byte("a\n"))
	Golden(s, false, "plans/one.golden", []byte("a\n"))
	if s.failed != "" {
		t.Errorf("what was written differs from itself: %s", s.failed)
	}
	Golden(s, false, "plans/one.golden", []byte("b\n"))
	if !strings.Contains(s.failed, "one.golden") || !strings.Contains(s.failed, "-update") {
		t.Errorf("a difference was reported as %q", s.failed)
	}
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
}

func exists(t *testing.T, c client.Client, name string) bool {
	t.Helper()
	err := c.Get(t.Context(), client.ObjectKeyFromObject(configMap(name)), &corev1.ConfigMap{})
	return err == nil
}

func TestCrashPoint(t *testing.T) {
	for name, test := range map[string]struct {
		mode          Mode
		second, third bool // written
		works         bool // afterwards
	}{
		"after the write":  {AfterWrite, true, false, false},
		"before the write": {BeforeWrite, false, false, false},
		"lost answer":      {LostAnswer, true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			below := fake.NewClientBuilder().WithStatusSubresource(&corev1.Pod{}).Build()
			p := NewCrashPoint(below, test.mode, 2)
			if err := p.Create(t.Context(), configMap("one")); err != nil || p.Reached() {
				t.Fatalf("the first write: %v, reached %v", err, p.Reached())
			}
			if !exists(t, p, "one") {
				t.Error("reads do not work before the crash")
			}
			if err := p.Create(t.Context(), configMap("two")); !errors.Is(err, ErrCrashed) || !p.Reached() {
				t.Errorf("the second write: %v, reached %v", err, p.Reached())
			}
			err := p.Create(t.Context(), configMap("three"))
			if (err == nil) != test.works {
				t.Errorf("the third write: %v", err)
			}
			if exists(t, p, "one") != test.works {
				t.Error("a crashed client must not read either, and another one must")
			}
			if exists(t, below, "two") != test.second || exists(t, below, "three") != test.third {
				t.Errorf("written: two %v, three %v", exists(t, below, "two"), exists(t, below, "three"))
			}
		})
	}
}

func TestCrashPointSeesEveryKindOfWrite(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}}
	below := fake.NewClientBuilder().WithStatusSubresource(pod).WithObjects(pod).Build()
	for name, write := range map[string]func(c client.Client) error{
		"create": func(c client.Client) error { return c.Create(t.Context(), configMap("x")) },
		"update": func(c client.Client) error { return c.Update(t.Context(), configMap("x")) },
		"patch": func(c client.Client) error {
			return c.Patch(t.Context(), configMap("x"), client.MergeFrom(configMap("x")))
		},
		"apply":         func(c client.Client) error { return c.Apply(t.Context(), corev1ac.ConfigMap("y", "default")) },
		"delete":        func(c client.Client) error { return c.Delete(t.Context(), configMap("x")) },
		"delete all":    func(c client.Client) error { return c.DeleteAllOf(t.Context(), configMap("x")) },
		"status update": func(c client.Client) error { return c.Status().Update(t.Context(), pod) },
		"status patch":  func(c client.Client) error { return c.Status().Patch(t.Context(), pod, client.MergeFrom(pod)) },
		"status apply": func(c client.Client) error {
			return c.Status().Apply(t.Context(), corev1ac.Pod("p", "default"))
		},
		"subresource": func(c client.Client) error { return c.SubResource("eviction").Create(t.Context(), pod, pod) },
	} {
		p := NewCrashPoint(below, BeforeWrite, 1)
		if err := write(p); !errors.Is(err, ErrCrashed) || p.Writes() != 1 {
			t.Errorf("%s went past the crash point: %v after %d writes", name, err, p.Writes())
		}
	}
}

func TestEachCrashPointCoversEveryWrite(t *testing.T) {
	runs := map[string]int{}
	EachCrashPoint(t, func(t *testing.T, crash func(client.WithWatch) *CrashPoint) *CrashPoint {
		below := fake.NewClientBuilder().Build()
		p := crash(below)
		runs[t.Name()[strings.LastIndex(t.Name(), "/")+1:]]++
		for _, name := range []string{"one", "two", "three"} {
			if err := p.Create(t.Context(), configMap(name)); err != nil {
				break
			}
		}
		return p
	})
	// Three writes, and one run that gets through.
	if runs["after-write"] != 4 || runs["before-write"] != 4 || runs["lost-answer"] != 4 {
		t.Errorf("runs: %v, want 4 of each", runs)
	}
}
