package agent

import (
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// TestOpeningWaitsForTheFirstPointOfAnEpoch: a point that moves with every write would never be reached.
func TestOpeningWaitsForTheFirstPointOfAnEpoch(t *testing.T) {
	closed := mysqld.Observation{Offline: true}
	var w opening
	told := func(epoch uint64, after string) *instance.Directive {
		return &instance.Directive{Epoch: epoch, Replica: &instance.ReplicaDuty{OpenAfter: after, Closing: w.closing}}
	}
	for _, c := range []struct {
		what string
		o    mysqld.Observation
		d    func() *instance.Directive
		want string
	}{
		{"nothing was told yet", closed, func() *instance.Directive { return nil }, ""},
		{"the first point is kept", closed, func() *instance.Directive { return told(3, "a:1-5") }, "a:1-5"},
		{"a later point of the same epoch changes nothing", closed, func() *instance.Directive { return told(3, "a:1-9") }, "a:1-5"},
		{"another epoch has another primary", closed, func() *instance.Directive { return told(4, "b:1-2") }, "b:1-2"},
		{"once open, nothing is waited for", mysqld.Observation{}, func() *instance.Directive { return told(4, "b:1-2") }, ""},
		{"closed again, what was told before does not count", closed, func() *instance.Directive { return told(4, "b:1-2") }, ""},
		{"the next point counts", closed, func() *instance.Directive { return told(4, "b:1-7") }, "b:1-7"},
		{"told by an operator that takes it for open", closed, func() *instance.Directive { return told(4, "") }, ""},
		{"no replica waits for nothing", closed, func() *instance.Directive {
			return &instance.Directive{Epoch: 4, Role: instance.RoleStandby}
		}, ""},
	} {
		if w.take(c.o, c.d()); w.after != c.want || (w.closing == "") == c.o.Offline {
			t.Errorf("%s: it waits for %q, want %q; closing %q", c.what, w.after, c.want, w.closing)
		}
	}
}

// TestASourceIsHeardByChangesOnly: mysqld's times are those of a clock that may be set.
func TestASourceIsHeardByChangesOnly(t *testing.T) {
	begun := time.Now()
	at := func(s int) time.Time { return begun.Add(time.Duration(s) * time.Second) }
	noted := func(when time.Time) mysqld.Observation {
		return mysqld.Observation{Channel: &mysqld.Channel{Receiver: true, HeardAt: when}}
	}
	var h hearing
	for _, c := range []struct {
		what string
		o    mysqld.Observation
		now  int
		want time.Time
	}{
		{"nothing is heard without a channel", mysqld.Observation{}, 1, time.Time{}},
		{"nor on one that has just been set up", noted(time.Time{}), 2, time.Time{}},
		{"the first heartbeat", noted(at(-3600)), 3, at(3)},
		{"the same one again", noted(at(-3600)), 4, at(3)},
		{"another, by a clock that was set back", noted(at(-7200)), 5, at(5)},
	} {
		if h.take(c.o, at(c.now)); !h.at.Equal(c.want) {
			t.Errorf("%s: heard at %v, want %v", c.what, h.at.Sub(begun), c.want.Sub(begun))
		}
	}
}

// TestTheSilenceOfASourceIsNotThatOfTheOneBefore: mysqld shows when the source before was heard until the next one is.
func TestTheSilenceOfASourceIsNotThatOfTheOneBefore(t *testing.T) {
	begun := time.Now()
	at := func(s int) time.Time { return begun.Add(time.Duration(s) * time.Second) }
	var h hearing
	look := func(now int, running bool, heard time.Time) {
		h.take(mysqld.Observation{Channel: &mysqld.Channel{Receiver: running, HeardAt: heard}}, at(now))
	}
	says := func(what string, heard time.Time, now, want int) {
		t.Helper()
		if got := h.silence(heard, at(now)); got != time.Duration(want)*time.Second {
			t.Errorf("%s: silent for %v, want %ds", what, got, want)
		}
	}
	look(0, true, time.Time{})
	says("never heard", time.Time{}, 5, 0)
	look(6, true, at(6))
	says("heard", at(6), 9, 3)
	h.begin()
	look(11, true, at(6))
	says("the next source was not heard yet", at(6), 30, 0)
	h.begin()
	look(30, true, at(5))
	says("a start put back what is shown", at(5), 30, 0)
	look(31, true, at(31))
	says("the next source", at(31), 35, 4)
	h.begin()
	look(35, true, at(35))
	says("heard before the first look", at(35), 39, 4)
	look(36, false, at(35))
	look(37, true, at(35))
	says("the receiver stopped in between", at(35), 50, 0)
	look(51, true, at(51).Add(-time.Hour))
	says("a clock that was set back by an hour", at(51).Add(-time.Hour), 55, 18)
	look(56, true, at(56).Add(time.Hour))
	says("a clock that was set forward", at(56).Add(time.Hour), 60, 4)
}

// TestASourceIsHeardWhileALargeTransactionComes: there is no heartbeat before it has come as a whole. Another file, or one that nobody saw before, is no
// news of the source.
func TestASourceIsHeardWhileALargeTransactionComes(t *testing.T) {
	begun := time.Now()
	at := func(s int) time.Time { return begun.Add(time.Duration(s) * time.Second) }
	var h hearing
	look := func(now, heard int, file string, size int64) time.Duration {
		h.take(mysqld.Observation{Channel: &mysqld.Channel{Receiver: true, HeardAt: at(heard), Relay: mysqld.RelayEnd{File: file, Size: size}}}, at(now))
		return h.silence(at(heard), at(now))
	}
	h.begin()
	for _, c := range []struct {
		what       string
		now, heard int
		file       string
		size       int64
		want       int
	}{
		{"a heartbeat", 1, 1, "relay.000001", 100, 0},
		{"nothing", 3, 1, "relay.000001", 100, 2},
		{"a part of a transaction", 5, 1, "relay.000001", 200, 2},
		{"another part, two looks later", 9, 1, "relay.000001", 300, 4},
		{"nothing", 12, 1, "relay.000001", 300, 7},
		{"a new file", 13, 1, "relay.000002", 400, 8},
		{"a part of a transaction", 14, 1, "relay.000002", 500, 1},
		{"a file that cannot be seen", 15, 1, "", 0, 2},
		{"one that can be seen again", 16, 1, "relay.000002", 600, 3},
	} {
		if got := look(c.now, c.heard, c.file, c.size); got != time.Duration(c.want)*time.Second {
			t.Errorf("%s at %d: silent for %s, want %ds", c.what, c.now, got, c.want)
		}
	}
	h.begin()
	if got := look(20, 1, "relay.000002", 700); got != 0 {
		t.Errorf("what came before the receiver was started anew counts: %s", got)
	}
	if h.present {
		t.Error("the source was not heard since")
	}
}
