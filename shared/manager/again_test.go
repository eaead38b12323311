package manager

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestWhyAnOperatorEnded tells a leadership that was lost from other ends.
func TestWhyAnOperatorEnded(t *testing.T) {
	const deadline = 3 * time.Second
	why := errors.New("it ended")
	for name, test := range map[string]struct {
		story func(lease *paper, tn *tenure, pass func(time.Duration))
		err   error
		lost  bool
	}{
		"renewed in time": {func(_ *paper, _ *tenure, pass func(time.Duration)) { pass(deadline - time.Millisecond) }, why, false},
		"no renewal":      {func(_ *paper, _ *tenure, pass func(time.Duration)) { pass(deadline) }, why, true},
		"no renewal, released after that": {func(_ *paper, tn *tenure, pass func(time.Duration)) {
			pass(deadline)
			_ = tn.Update(context.Background(), resourcelock.LeaderElectionRecord{})
		}, why, true},
		"another holder": {func(lease *paper, tn *tenure, pass func(time.Duration)) {
			pass(time.Second)
			lease.record.HolderIdentity = "other"
			_, _, _ = tn.Get(context.Background())
		}, why, true},
		"given up": {func(_ *paper, tn *tenure, pass func(time.Duration)) {
			pass(time.Second)
			_ = tn.Update(context.Background(), resourcelock.LeaderElectionRecord{})
			pass(time.Hour)
		}, why, false},
		"asked to end": {func(_ *paper, _ *tenure, pass func(time.Duration)) { pass(time.Hour) }, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			at := time.Unix(1_800_000_000, 0)
			lease := &paper{}
			tn := &tenure{Interface: lease, duration: 4 * time.Second, deadline: deadline, now: func() time.Time { return at }}
			if err := tn.Create(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: "me"}); err != nil {
				t.Fatal(err)
			}
			test.story(lease, tn, func(d time.Duration) { at = at.Add(d) })
			err := (&Term{tenure: tn}).explain(test.err)
			if errors.Is(err, ErrLeadershipLost) != test.lost || !errors.Is(err, test.err) {
				t.Errorf("got %v", err)
			}
		})
	}
	tn := &tenure{Interface: &paper{}, deadline: deadline, now: time.Now}
	if err := (&Term{tenure: tn}).explain(why); errors.Is(err, ErrLeadershipLost) {
		t.Error("a standby has lost a leadership")
	}
	if err := (&Term{}).explain(why); !errors.Is(err, why) || errors.Is(err, ErrLeadershipLost) {
		t.Errorf("without an election: %v", err)
	}
}

// TestALostLeaseEndsAnOperator takes the Lease from a leader on a real API server.
func TestALostLeaseEndsAnOperator(t *testing.T) {
	ns := namespace(t)
	c, err := flags(t)
	if err != nil {
		t.Fatal(err)
	}
	c.LeaderElectionNamespace, c.HealthAddress, c.MetricsAddress = ns, "0", "0"
	mgr, err := New(env.Config, c, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(t.Context()) }()
	eventually(t, "leadership", func() bool { _, ok := mgr.Term.Term(); return ok })
	steal := []byte(`{"spec":{"holderIdentity":"somebody else","leaseDurationSeconds":3600}}`)
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: c.Name}}
	if err := env.Client.Patch(t.Context(), lease, client.RawPatch(types.MergePatchType, steal)); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if !errors.Is(err, ErrLeadershipLost) {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it goes on without its Lease")
	}
}

// againCount names the variable that tells the program of TestAgain how often it has started.
const againCount = "KAPOK_TEST_AGAIN"

// TestAgain runs this test's own program, which starts itself again once.
func TestAgain(t *testing.T) {
	if seen := os.Getenv(againCount); seen != "" {
		fmt.Println("process", os.Getpid(), os.Args[1:])
		if seen == "first" {
			t.Setenv(againCount, "second")
			t.Fatal(Again())
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestAgain$", "-test.count=1")
	cmd.Env = append(os.Environ(), againCount+"=first")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := fmt.Sprintf("process %d %v\n", cmd.Process.Pid, cmd.Args[1:])
	if strings.Count(string(out), want) != 2 {
		t.Errorf("not twice the same process and arguments %q in\n%s", want, out)
	}
}
