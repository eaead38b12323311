package lan

import (
	"testing"
	"time"

	"github.com/mdlayher/netlink"
)

func TestPacketsWaitWithinTheJitterAndStayInOrder(t *testing.T) {
	q := &delayQueue{delay: 200 * time.Millisecond, jitter: 50 * time.Millisecond, fresh: make(chan struct{}, 1)}
	begun := time.Now()
	const packets = 1000
	for i := range uint32(packets) {
		q.add(i, begun)
	}
	first, last := q.waiting[0].due.Sub(begun), q.waiting[packets-1].due.Sub(begun)
	if first < 150*time.Millisecond || last > 250*time.Millisecond || last < 240*time.Millisecond {
		t.Errorf("the first waits %s, the last %s", first, last)
	}
	for i := 1; i < packets; i++ {
		if q.waiting[i].due.Before(q.waiting[i-1].due) {
			t.Fatalf("packet %d overtakes", i)
		}
	}
}

func TestPacketID(t *testing.T) {
	header := []byte{2, 0, 0, 7}
	payload := []byte{11, 0, 1, 0, 0, 0, 1, 2, 8, 0, 0, 0} // Length, kind, number 258, protocol, hook, padding.
	before := []byte{8, 0, 5, 0, 0, 0, 0, 9}               // The device by which it came.
	message := func(kind netlink.HeaderType, parts ...[]byte) netlink.Message {
		m := netlink.Message{Header: netlink.Header{Type: kind}}
		for _, p := range parts {
			m.Data = append(m.Data, p...)
		}
		return m
	}
	if id, ok := packetID(message(queuePacket, header, before, payload)); !ok || id != 258 {
		t.Errorf("packet %d, %v", id, ok)
	}
	for name, m := range map[string]netlink.Message{
		"another kind": message(queueConfig, header, payload),
		"no number":    message(queuePacket, header, before),
		"cut off":      message(queuePacket, header, payload[:6]),
		"empty":        message(queuePacket),
	} {
		if id, ok := packetID(m); ok {
			t.Errorf("%s: packet %d", name, id)
		}
	}
}
