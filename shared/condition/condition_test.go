package condition

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func at(second int) metav1.Time {
	return metav1.NewTime(time.Date(2026, 1, 1, 0, 0, second, 0, time.UTC))
}

func observed(c metav1.Condition, generation int64, since metav1.Time) metav1.Condition {
	c.ObservedGeneration, c.LastTransitionTime = generation, since
	return c
}

func TestMerge(t *testing.T) {
	order := []string{"Available", "Progressing", "Degraded"}
	yes, no := True("Available", "AllReady", "3 of 3"), False("Available", "Down", "0 of 3")
	tests := map[string]struct{ previous, next, want []metav1.Condition }{
		"a new condition begins now": {
			nil, []metav1.Condition{yes},
			[]metav1.Condition{observed(yes, 5, at(9))},
		},
		"an unchanged status keeps its time, with the new reason and generation": {
			[]metav1.Condition{observed(True("Available", "SomeReady", "2 of 3"), 4, at(1))},
			[]metav1.Condition{yes},
			[]metav1.Condition{observed(yes, 5, at(1))},
		},
		"a changed status begins now": {
			[]metav1.Condition{observed(yes, 5, at(1))},
			[]metav1.Condition{no},
			[]metav1.Condition{observed(no, 5, at(9))},
		},
		"the order is fixed, whatever the input's": {
			[]metav1.Condition{observed(no, 5, at(1))},
			[]metav1.Condition{True("Degraded", "D", ""), True("Progressing", "P", ""), no},
			[]metav1.Condition{observed(no, 5, at(1)), observed(True("Progressing", "P", ""), 5, at(9)), observed(True("Degraded", "D", ""), 5, at(9))},
		},
		"what nothing was learnt about stays as it was": {
			[]metav1.Condition{observed(True("Degraded", "D", "old"), 3, at(1))},
			[]metav1.Condition{yes},
			[]metav1.Condition{observed(yes, 5, at(9)), observed(True("Degraded", "D", "old"), 3, at(1))},
		},
		"a type given up disappears, a type without a place comes last": {
			[]metav1.Condition{observed(True("Legacy", "L", ""), 3, at(1))},
			[]metav1.Condition{True("Zeta", "Z", ""), True("Alpha", "A", ""), yes},
			[]metav1.Condition{observed(yes, 5, at(9)), observed(True("Alpha", "A", ""), 5, at(9)), observed(True("Zeta", "Z", ""), 5, at(9))},
		},
		"a previous condition without a time gets one": {
			[]metav1.Condition{yes}, []metav1.Condition{yes},
			[]metav1.Condition{observed(yes, 5, at(9))},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before := append([]metav1.Condition{}, test.previous...)
			got := Merge(order, test.previous, test.next, 5, at(9))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(before, append([]metav1.Condition{}, test.previous...)); diff != "" {
				t.Errorf("the input was changed:\n%s", diff)
			}
			if diff := cmp.Diff(got, Merge(order, got, test.next, 5, at(30))); diff != "" {
				t.Errorf("merging the same again is not quiet:\n%s", diff)
			}
		})
	}
}

func TestMergeBoundsTheMessage(t *testing.T) {
	long := strings.Repeat("ü", maxMessage+10)
	got := Merge(nil, nil, []metav1.Condition{True("A", "R", long)}, 1, at(1))[0].Message
	if n := len([]rune(got)); n != maxMessage || !strings.HasSuffix(got, "ü…") {
		t.Errorf("the message has %d characters, want %d with a mark", n, maxMessage)
	}
	fits := strings.Repeat("ü", maxMessage)
	if got := Merge(nil, nil, []metav1.Condition{True("A", "R", fits)}, 1, at(1))[0].Message; got != fits {
		t.Error("a message that fits was cut")
	}
}

func TestSummary(t *testing.T) {
	parts := []string{"A", "B", "C"}
	tests := map[string]struct {
		conditions []metav1.Condition
		want       metav1.Condition
	}{
		"all hold": {
			[]metav1.Condition{True("A", "Ok", ""), True("B", "Ok", ""), True("C", "Ok", "")},
			True("Ready", "AllGood", "fine"),
		},
		"false outweighs unknown": {
			[]metav1.Condition{Unknown("A", "Unreachable", "no answer"), False("B", "Down", "is down"), False("C", "Late", "is late")},
			False("Ready", "Down", "is down"),
		},
		"unknown outweighs true": {
			[]metav1.Condition{True("A", "Ok", ""), Unknown("B", "Unreachable", "no answer"), True("C", "Ok", "")},
			Unknown("Ready", "Unreachable", "no answer"),
		},
		"missing is unknown": {
			[]metav1.Condition{True("A", "Ok", ""), True("C", "Ok", "")},
			Unknown("Ready", "NotObserved", "B has not been observed yet."),
		},
		"false outweighs missing": {
			[]metav1.Condition{False("C", "Late", "is late")},
			False("Ready", "Late", "is late"),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, Summary("Ready", parts, test.conditions, "AllGood", "fine")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestChanged(t *testing.T) {
	previous := []metav1.Condition{True("A", "Ok", "1"), True("B", "Ok", ""), True("C", "Ok", "")}
	next := []metav1.Condition{True("A", "Ok", "2"), False("B", "Down", ""), True("C", "Fine", ""), True("D", "New", "")}
	var got []string
	for _, c := range Changed(previous, next) {
		from := "nothing"
		if c.From != nil {
			from = c.From.Reason
		}
		got = append(got, c.To.Type+": "+from+" to "+c.To.Reason)
	}
	want := []string{"B: Ok to Down", "C: Ok to Fine", "D: nothing to New"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestAllUnknown(t *testing.T) {
	got := AllUnknown([]string{"A", "B"}, "Unreachable", "no answer")
	want := []metav1.Condition{Unknown("A", "Unreachable", "no answer"), Unknown("B", "Unreachable", "no answer")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if IsTrue(got, "A") || IsTrue(got, "Z") || !IsTrue([]metav1.Condition{True("A", "R", "")}, "A") {
		t.Error("only a known true is true")
	}
}

func TestApply(t *testing.T) {
	got := Apply([]metav1.Condition{observed(False("A", "Down", "is down"), 7, at(3))})
	if len(got) != 1 || *got[0].Type != "A" || *got[0].Status != metav1.ConditionFalse || *got[0].Reason != "Down" ||
		*got[0].Message != "is down" || *got[0].ObservedGeneration != 7 || !got[0].LastTransitionTime.Equal(&[]metav1.Time{at(3)}[0]) {
		t.Errorf("unexpected apply configuration %+v", got)
	}
}
