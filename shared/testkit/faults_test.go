package testkit

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// TestFailingModesWriteNothing: the n-th write fails with the API server's own kind of error, and the client goes on.
func TestFailingModesWriteNothing(t *testing.T) {
	for mode, is := range map[Mode]func(error) bool{
		Conflict: apierrors.IsConflict, Timeout: apierrors.IsTimeout, ServerError: apierrors.IsInternalError, Straggler: apierrors.IsTimeout,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			below := fake.NewClientBuilder().Build()
			p := NewCrashPoint(below, mode, 2)
			if err := p.Create(t.Context(), configMap("one")); err != nil {
				t.Fatal(err)
			}
			err := p.Create(t.Context(), configMap("two"))
			if !is(err) || !errors.Is(err, ErrInjected) || !p.Reached() || p.Crashed() {
				t.Errorf("the second write: %v, reached %v, crashed %v", err, p.Reached(), p.Crashed())
			}
			if err := p.Create(t.Context(), configMap("three")); err != nil {
				t.Errorf("the third write: %v", err)
			}
			if !exists(t, below, "one") || exists(t, below, "two") || !exists(t, p, "three") {
				t.Error("only the second write should be missing")
			}
		})
	}
	if len(Modes()) != int(Straggler)+1 {
		t.Errorf("%d modes are listed of %d", len(Modes()), int(Straggler)+1)
	}
}

// TestSlowWritesLeaveRoomForOthers: an optimistic update loses against what happens before it arrives, and wins against
// what happens after it.
func TestSlowWritesLeaveRoomForOthers(t *testing.T) {
	for mode, want := range map[Mode]struct {
		conflict bool
		data     string
	}{SlowRequest: {true, "theirs"}, SlowAnswer: {false, "theirs after ours"}} {
		t.Run(mode.String(), func(t *testing.T) {
			below := fake.NewClientBuilder().WithObjects(configMap("x")).Build()
			p := NewCrashPoint(below, mode, 1)
			key := client.ObjectKeyFromObject(configMap("x"))
			p.Meanwhile = func() {
				var now corev1.ConfigMap
				if err := p.Get(t.Context(), key, &now); err != nil {
					t.Fatal(err)
				}
				theirs := "theirs"
				if now.Data["by"] != "" {
					theirs += " after " + now.Data["by"]
				}
				now.Data = map[string]string{"by": theirs}
				if err := below.Update(t.Context(), &now); err != nil {
					t.Fatal(err)
				}
			}
			var mine, after corev1.ConfigMap
			if err := p.Get(t.Context(), key, &mine); err != nil {
				t.Fatal(err)
			}
			mine.Data = map[string]string{"by": "ours"}
			err := p.Update(t.Context(), &mine)
			if apierrors.IsConflict(err) != want.conflict || !want.conflict && err != nil {
				t.Errorf("got %v", err)
			}
			if err := below.Get(t.Context(), key, &after); err != nil || after.Data["by"] != want.data {
				t.Errorf("in the end it is %q (%v), want %q", after.Data["by"], err, want.data)
			}
			if err := p.Create(t.Context(), configMap("y")); err != nil {
				t.Errorf("the next write: %v", err)
			}
		})
	}
}

// TestStragglersLand sends every kind of write late: with what it held when it was sent, after its caller has gone.
func TestStragglersLand(t *testing.T) {
	pod := func() *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", Finalizers: []string{"example.com/keep"}}}
	}
	for name, test := range map[string]struct {
		write  func(c client.Client, cm *corev1.ConfigMap) error
		landed func(cm *corev1.ConfigMap, p *corev1.Pod) bool
	}{
		"update": {
			func(c client.Client, cm *corev1.ConfigMap) error { return c.Update(t.Context(), cm) },
			func(cm *corev1.ConfigMap, _ *corev1.Pod) bool { return cm.Data["a"] == "sent" },
		},
		"patch": {
			func(c client.Client, cm *corev1.ConfigMap) error {
				return c.Patch(t.Context(), cm, client.MergeFrom(configMap("x")))
			},
			func(cm *corev1.ConfigMap, _ *corev1.Pod) bool { return cm.Data["a"] == "sent" },
		},
		"apply": {
			func(c client.Client, _ *corev1.ConfigMap) error {
				return c.Apply(t.Context(), corev1ac.ConfigMap("x", "default").WithData(map[string]string{"a": "sent"}), client.FieldOwner("test"))
			},
			func(cm *corev1.ConfigMap, _ *corev1.Pod) bool { return cm.Data["a"] == "sent" },
		},
		"delete": {
			func(c client.Client, cm *corev1.ConfigMap) error { return c.Delete(t.Context(), cm) },
			func(cm *corev1.ConfigMap, _ *corev1.Pod) bool { return cm.Name == "" },
		},
		"status apply": {
			func(c client.Client, _ *corev1.ConfigMap) error {
				desired := corev1ac.Pod("p", "default").WithStatus(corev1ac.PodStatus().WithMessage("sent"))
				return c.Status().Apply(t.Context(), desired, client.FieldOwner("test"))
			},
			func(_ *corev1.ConfigMap, p *corev1.Pod) bool { return p.Status.Message == "sent" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			below := fake.NewClientBuilder().WithStatusSubresource(pod()).WithObjects(configMap("x"), pod()).Build()
			p := NewCrashPoint(below, Straggler, 1)
			sent := configMap("x")
			sent.Data = map[string]string{"a": "sent"}
			if err := test.write(p, sent); !apierrors.IsTimeout(err) {
				t.Fatalf("the caller was told %v", err)
			}
			sent.Data["a"] = "used again"
			look := func() (*corev1.ConfigMap, *corev1.Pod) {
				var cm corev1.ConfigMap
				var pod corev1.Pod
				if err := below.Get(t.Context(), client.ObjectKeyFromObject(sent), &cm); client.IgnoreNotFound(err) != nil {
					t.Fatal(err)
				}
				if err := below.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "p"}, &pod); err != nil {
					t.Fatal(err)
				}
				return &cm, &pod
			}
			if cm, pod := look(); test.landed(cm, pod) {
				t.Fatal("it has landed already")
			}
			p.Crash()
			if err := p.Get(t.Context(), client.ObjectKeyFromObject(sent), &corev1.ConfigMap{}); !errors.Is(err, ErrCrashed) {
				t.Errorf("the client has not ended: %v", err)
			}
			if was, err := p.Land(t.Context()); !was || err != nil {
				t.Fatalf("landing: %v, %v", was, err)
			}
			if cm, pod := look(); !test.landed(cm, pod) {
				t.Errorf("it has not landed: %+v, %+v", cm, pod.Status)
			}
			if was, err := p.Land(t.Context()); was || err != nil {
				t.Errorf("it has landed twice (%v)", err)
			}
		})
	}
}

// TestStragglersMeetWhatHappenedMeanwhile: an optimistic write that lands late is refused like any other.
func TestStragglersMeetWhatHappenedMeanwhile(t *testing.T) {
	below := fake.NewClientBuilder().WithObjects(configMap("x")).Build()
	p := NewCrashPoint(below, Straggler, 1)
	var mine corev1.ConfigMap
	if err := p.Get(t.Context(), client.ObjectKeyFromObject(configMap("x")), &mine); err != nil {
		t.Fatal(err)
	}
	theirs := mine.DeepCopy()
	if err := p.Update(t.Context(), &mine); !apierrors.IsTimeout(err) {
		t.Fatal(err)
	}
	if err := below.Update(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	if was, err := p.Land(t.Context()); !was || !apierrors.IsConflict(err) {
		t.Errorf("landing: %v, %v, want a conflict", was, err)
	}
}
