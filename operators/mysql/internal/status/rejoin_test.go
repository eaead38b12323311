package status

import (
	"strings"
	"testing"

	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

func TestTheWayBackIsToldWithItsReason(t *testing.T) {
	for name, tc := range map[string]struct {
		r            instance.Rejoin
		reason, note string
	}{
		"on its way": {instance.Rejoin{Removed: "a:1", Count: 1}, "", ""},
		"removed": {instance.Rejoin{Removed: "a:1-3", Count: 3, Archive: "/volume/x", Done: true}, "Rejoined",
			"db-0 rejoined by removing 3 transactions from the binary log: a:1-3, archived in /volume/x"},
		"left alone": {instance.Rejoin{Doubt: "a:4 is compressed"}, "RejoinInDoubt", "db-0: rebuild by CLONE because a:4 is compressed"},
		"committed before": {instance.Rejoin{Doubt: "a:4 was committed", Archive: "/volume/x"}, "RejoinInDoubt",
			"db-0: rebuild by CLONE because a:4 was committed; the tail is archived on its volume in /volume/x"},
	} {
		e, ok := Rejoined("db-0", tc.r)
		if ok != (tc.reason != "") || e.Reason != tc.reason || !strings.Contains(e.Note, tc.note) {
			t.Errorf("%s: %v, %+v", name, ok, e)
		}
	}
}
