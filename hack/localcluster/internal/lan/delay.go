package lan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// What the kernel calls the parts of its interface for packet queues (linux/netfilter/nfnetlink_queue.h).
const (
	queuePacket       = unix.NFNL_SUBSYS_QUEUE << 8
	queueConfig       = unix.NFNL_SUBSYS_QUEUE<<8 | 2
	queueVerdictBatch = unix.NFNL_SUBSYS_QUEUE<<8 | 3

	configCommand = 1
	configParams  = 2
	configLength  = 3
	configMask    = 4
	configFlags   = 5

	commandBind  = 1
	copyMeta     = 1
	flagSegments = 1 << 2

	packetHeader  = 1
	verdictHeader = 2
	verdictAccept = 1
)

// queueLength is how many packets may wait. When there are more, the kernel drops them, as a full router would.
const queueLength = 8192

// delayQueue lets packets wait. They stay in the kernel: only their numbers come here, and go back when their time has
// come. When the process ends, so does the queue, and what waits is lost.
type delayQueue struct {
	number        uint16
	delay, jitter time.Duration
	conn          *netlink.Conn

	mu      sync.Mutex
	waiting []waitingPacket
	last    time.Time // When the packet that came last goes on.
	fresh   chan struct{}
	done    chan struct{}
	ended   sync.WaitGroup
}

type waitingPacket struct {
	id  uint32
	due time.Time
}

// openDelayQueue makes the queue of that number in a network namespace.
func openDelayQueue(namespace int, number uint16, delay, jitter time.Duration) (*delayQueue, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: namespace})
	if err != nil {
		return nil, fmt.Errorf("open packet queue: %w", err)
	}
	q := &delayQueue{
		number: number, delay: delay, jitter: jitter, conn: conn, fresh: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if err := q.configure(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	q.ended.Go(q.receive)
	q.ended.Go(q.release)
	return q, nil
}

func (q *delayQueue) configure() error {
	// A burst must fit between two looks at the socket.
	if err := q.conn.SetReadBuffer(4 << 20); err != nil {
		return fmt.Errorf("enlarge buffer of packet queue: %w", err)
	}
	be := binary.BigEndian
	for _, a := range []netlink.Attribute{
		{Type: configCommand, Data: []byte{commandBind, 0, 0, 0}},
		{Type: configParams, Data: []byte{0, 0, 0, 0, copyMeta}},
		{Type: configLength, Data: be.AppendUint32(nil, queueLength)},
	} {
		if err := q.set(a); err != nil {
			return err
		}
	}
	// What one end sent as one segment is not taken apart here.
	return q.set(netlink.Attribute{Type: configFlags, Data: be.AppendUint32(nil, flagSegments)},
		netlink.Attribute{Type: configMask, Data: be.AppendUint32(nil, flagSegments)})
}

func (q *delayQueue) set(attributes ...netlink.Attribute) error {
	m, err := q.message(queueConfig, netlink.Request|netlink.Acknowledge, attributes...)
	if err != nil {
		return err
	}
	if _, err := q.conn.Execute(m); err != nil {
		return fmt.Errorf("configure packet queue %d: %w", q.number, err)
	}
	return nil
}

func (q *delayQueue) message(kind netlink.HeaderType, flags netlink.HeaderFlags, attributes ...netlink.Attribute) (netlink.Message, error) {
	data, err := netlink.MarshalAttributes(attributes)
	if err != nil {
		return netlink.Message{}, fmt.Errorf("encode request for packet queue: %w", err)
	}
	header := binary.BigEndian.AppendUint16([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0}, q.number)
	return netlink.Message{Header: netlink.Header{Type: kind, Flags: flags}, Data: append(header, data...)}, nil
}

// receive notes each packet that begins to wait.
func (q *delayQueue) receive() {
	for {
		messages, err := q.conn.Receive()
		select {
		case <-q.done:
			return
		default:
		}
		if err != nil {
			// A burst that did not fit: the kernel has dropped those packets.
			if !errors.Is(err, unix.ENOBUFS) {
				fmt.Fprintf(os.Stderr, "packet queue %d: %v\n", q.number, err)
				time.Sleep(10 * time.Millisecond)
			}
			continue
		}
		now := time.Now()
		for _, m := range messages {
			if id, ok := packetID(m); ok {
				q.add(id, now)
			}
		}
	}
}

func packetID(m netlink.Message) (uint32, bool) {
	const header = 4 // Family, version, queue.
	if m.Header.Type != queuePacket || len(m.Data) < header {
		return 0, false
	}
	attributes, err := netlink.UnmarshalAttributes(m.Data[header:])
	if err != nil {
		return 0, false
	}
	for _, a := range attributes {
		if a.Type&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == packetHeader && len(a.Data) >= 4 {
			return binary.BigEndian.Uint32(a.Data), true
		}
	}
	return 0, false
}

func (q *delayQueue) add(id uint32, now time.Time) {
	due := now.Add(q.delay)
	if q.jitter > 0 {
		due = due.Add(time.Duration(rand.Int64N(int64(2*q.jitter)+1)) - q.jitter)
	}
	q.mu.Lock()
	if due.Before(q.last) {
		due = q.last
	}
	q.last = due
	q.waiting = append(q.waiting, waitingPacket{id, due})
	q.mu.Unlock()
	select {
	case q.fresh <- struct{}{}:
	default:
	}
}

// release lets packets go on when their time has come.
func (q *delayQueue) release() {
	for {
		wait, some := q.letGo(time.Now())
		var due <-chan time.Time
		if some {
			due = time.After(wait)
		}
		select {
		case <-due:
		case <-q.fresh:
		case <-q.done:
			return
		}
	}
}

// letGo lets go on what is due and returns how long the next one waits yet.
func (q *delayQueue) letGo(now time.Time) (wait time.Duration, some bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for n < len(q.waiting) && !q.waiting[n].due.After(now) {
		n++
	}
	if n > 0 {
		// One answer is for a packet and all before it, so none is ever forgotten.
		if err := q.accept(q.waiting[n-1].id); err != nil {
			fmt.Fprintf(os.Stderr, "packet queue %d: %v\n", q.number, err)
		}
		q.waiting = q.waiting[n:]
	}
	if len(q.waiting) == 0 {
		q.waiting = nil
		return 0, false
	}
	return q.waiting[0].due.Sub(now), true
}

func (q *delayQueue) accept(id uint32) error {
	verdict := binary.BigEndian.AppendUint32(nil, verdictAccept)
	m, err := q.message(queueVerdictBatch, netlink.Request, netlink.Attribute{
		Type: verdictHeader, Data: binary.BigEndian.AppendUint32(verdict, id),
	})
	if err != nil {
		return err
	}
	if _, err := q.conn.Send(m); err != nil {
		return fmt.Errorf("let packets go on: %w", err)
	}
	return nil
}

// close lets everything that waits go on and ends the queue.
func (q *delayQueue) close() error {
	q.letGo(time.Now().Add(24 * time.Hour))
	close(q.done)
	err := q.conn.Close()
	q.ended.Wait()
	if err != nil {
		return fmt.Errorf("close packet queue %d: %w", q.number, err)
	}
	return nil
}
