package lan

import (
	"errors"
	"fmt"
	"os"

	"github.com/kapok-operators/kapok/hack/localcluster/internal/spec"
	"github.com/kapok-operators/kapok/hack/localcluster/netfault"
)

// bridgedToIP is there where bridged packets go through the packet filter for IP. Every box turns it on for itself.
const bridgedToIP = "/proc/sys/net/bridge/bridge-nf-call-iptables"

// SetFaults makes the network as bad as the rules say, and no worse: rules that held before and are not among them end.
// When it fails, what held before goes on. Packets that wait when a rule about them ends go on at once.
func (l *LAN) SetFaults(rules []netfault.Rule, nodes []spec.Node) error {
	wanted := map[string]*delayQueue{}
	var opened []*delayQueue
	for _, r := range rules {
		key := r.Normal().String()
		if r.Delay == 0 || wanted[key] != nil {
			continue
		}
		q := l.queues[key]
		if q == nil {
			if _, err := os.Stat(bridgedToIP); err != nil {
				return errors.Join(fmt.Errorf("delay packets: this kernel does not show bridged packets to the filter for IP: %w", err), closeAll(opened))
			}
			l.lastQueue++
			var err error
			if q, err = openDelayQueue(int(l.center), l.lastQueue, r.Delay, r.Jitter); err != nil {
				return errors.Join(fmt.Errorf("delay packets: %w", err), closeAll(opened))
			}
			opened = append(opened, q)
		}
		wanted[key] = q
	}
	all := flows(rules, nodes, func(r netfault.Rule) uint16 { return wanted[r.Normal().String()].number })
	if err := l.write(all); err != nil {
		return errors.Join(err, closeAll(opened))
	}
	var ended []*delayQueue
	for key, q := range l.queues {
		if wanted[key] == nil {
			ended = append(ended, q)
		}
	}
	l.queues = wanted
	return closeAll(ended)
}

func closeAll(queues []*delayQueue) error {
	var all error
	for _, q := range queues {
		all = errors.Join(all, q.close())
	}
	return all
}
