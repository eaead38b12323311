package gtid_test

import (
	"testing"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
)

func TestBuilderCollectsWhatParseWouldRead(t *testing.T) {
	const a, b = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa", "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb"
	var collected gtid.Builder
	for n := uint64(1); n <= 1000; n++ {
		collected.Add(a, "", n, n)
	}
	early, err := collected.Set()
	if err != nil {
		t.Fatal(err)
	}
	collected.Add(b, "night", 7, 9)
	collected.Add(a, "", 2000, 2001)
	collected.Add(a, "", 1500, 1500)
	collected.Add(a, "", 1001, 1001)
	set, err := collected.Set()
	if want := a + ":1-1001:1500:2000-2001," + b + ":night:7-9"; err != nil || set.String() != want {
		t.Errorf("got %s, %v, want %s", set, err, want)
	}
	if early.String() != a+":1-1000" {
		t.Errorf("a set that was taken earlier has become %s", early)
	}
	if collected.Count() != set.Count() {
		t.Errorf("%d were added, and the set has %d", collected.Count(), set.Count())
	}
	collected.Add(a, "", 3, 3)
	if set, err := collected.Set(); err != nil || collected.Count() != set.Count()+1 {
		t.Errorf("one was added twice: %d of %d, %v", collected.Count(), set.Count(), err)
	}
	var again gtid.Builder
	again.AddSet(set)
	if copied, err := again.Set(); err != nil || !copied.Equal(set) || again.Count() != set.Count() {
		t.Errorf("%s was added, and became %s, %v", set, copied, err)
	}
	if !set.HoldsTagged(b, "night", 8) || set.HoldsTagged(b, "night", 10) || set.HoldsTagged(b, "", 8) || set.Holds(b, 8) || !set.HoldsTagged(a, "", 1500) {
		t.Error("one transaction is not where it is")
	}
	for _, run := range [][2]uint64{{0, 1}, {2, 1}, {1, 1 << 63}} {
		var bad gtid.Builder
		bad.Add(a, "", run[0], run[1])
		if set, err := bad.Set(); err == nil {
			t.Errorf("%v is taken for %s", run, set)
		}
	}
}
