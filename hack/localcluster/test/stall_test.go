//go:build e2e

package test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// limited returns the node and the name of the limited volume of a pod.
func (s *faultSuite) limited(t *testing.T, pod string) (node, volume string) {
	t.Helper()
	return s.kubectl(t, "get", "pod", pod, "-o", "jsonpath={.spec.nodeName}"),
		s.kubectl(t, "get", "pvc", "limited-"+pod, "-o", "jsonpath={.spec.volumeName}")
}

// hangingWrite begins to write to the pod's limited volume and returns when that is known to hang; done tells of its end.
func (s *faultSuite) hangingWrite(t *testing.T, pod string) (done <-chan error) {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		out, err := s.tryKubectl("exec", pod, "--", "/probe", "write", "/limited/late", "late")
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Fatalf("a write to a stalled volume ended: %v", err)
	case <-time.After(3 * time.Second):
	}
	return ended
}

func (s *faultSuite) stall(t *testing.T, pod string) (node, volume string) {
	t.Helper()
	node, volume = s.limited(t, pod)
	s.kubectl(t, "exec", pod, "--", "/probe", "write", "/limited/kept", "kept")
	for range 2 {
		s.do(t, func(ctx context.Context) error { return s.cluster.Stall(ctx, node, volume) })
	}
	if out := s.must(t, time.Minute, "status", "--name", s.name); !strings.Contains(out, node+" "+volume) {
		t.Errorf("status does not show that %s is stalled:\n%s", volume, out)
	}
	return node, volume
}

func (s *faultSuite) stalledVolume(t *testing.T) {
	eventually(t, time.Minute, func() error {
		_, err := s.tryKubectl("exec", "probe-0", "--", "/probe", "read", "/etc/hosts")
		return err
	})
	node, volume := s.stall(t, "probe-0")
	done := s.hangingWrite(t, "probe-0")
	if got := s.kubectl(t, "exec", "probe-0", "--", "/probe", "read", "/limited/kept"); got != "kept" {
		t.Errorf("read %q from a stalled volume", got)
	}
	// Another volume of the same node is not stalled.
	s.kubectl(t, "exec", "probe-0", "--", "/probe", "write", "/data/kept", "kept")
	for range 2 {
		s.do(t, func(ctx context.Context) error { return s.cluster.Release(ctx, node, volume) })
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := s.kubectl(t, "exec", "probe-0", "--", "/probe", "read", "/limited/late"); got != "late" {
		t.Errorf("read %q after the release", got)
	}
	if out, err := s.run(time.Minute, "volume", "--name", s.name, "stall", node, "nothing"); err == nil || !strings.Contains(out, `no volume "nothing"`) {
		t.Errorf("stall of no volume: %v %s", err, out)
	}
}

func (s *faultSuite) stalledStop(t *testing.T) {
	node, _ := s.stall(t, "probe-0")
	s.hangingWrite(t, "probe-0")
	s.do(t, func(ctx context.Context) error { return s.cluster.Stop(ctx, node) })
	if err := s.cluster.Start(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	s.writes(t, "probe-0")
}

// writes waits until the pod can write to its limited volume, which holds what it held.
func (s *faultSuite) writes(t *testing.T, pod string) {
	t.Helper()
	eventually(t, 2*time.Minute, func() error {
		out, err := s.run(10*time.Second, "kubectl", "--name", s.name, "exec", pod, "--", "/probe", "write", "/limited/again", "again")
		if err != nil {
			return fmt.Errorf("write: %w: %s", err, out)
		}
		return nil
	})
	if got := s.kubectl(t, "exec", pod, "--", "/probe", "read", "/limited/kept"); got != "kept" {
		t.Errorf("read %q", got)
	}
}

func (s *faultSuite) stalledResume(t *testing.T) {
	s.stall(t, "probe-1") // Nobody writes to this one.
	s.stall(t, "probe-0")
	s.hangingWrite(t, "probe-0")
	if out, err := exec.Command("kill", "-9", s.supervisor(t)).CombinedOutput(); err != nil {
		t.Fatalf("kill: %v %s", err, out)
	}
	if _, err := s.cluster.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.writes(t, "probe-0")
	s.writes(t, "probe-1")
}
