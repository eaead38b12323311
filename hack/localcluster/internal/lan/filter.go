package lan

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// tableName is the table of the packet filter that holds the faults, and nothing else: one of the bridge's own filter for
// losses, and one of the filter for IP for delays.
const tableName = "localcluster-faults"

// write replaces what the packet filter does by the flows, all at once. Chains are kept: with a chain the kernel would
// drop every packet that waits in a queue.
func (l *LAN) write(all []flow) error {
	conn, err := nftables.New(nftables.WithNetNSFd(int(l.center)))
	if err != nil {
		return fmt.Errorf("open the packet filter of the LAN: %w", err)
	}
	for _, family := range []nftables.TableFamily{nftables.TableFamilyBridge, nftables.TableFamilyIPv4} {
		table := conn.AddTable(&nftables.Table{Name: tableName, Family: family})
		chains := map[hook]*nftables.Chain{}
		for _, h := range hooks() {
			// Before everything that the kernel does itself.
			chains[h] = conn.AddChain(&nftables.Chain{
				Name: string(h), Table: table, Type: nftables.ChainTypeFilter,
				Hooknum: hookNumber(h), Priority: nftables.ChainPriorityRef(-300),
			})
			conn.FlushChain(chains[h])
		}
		for _, f := range all {
			if f.delayed == (family == nftables.TableFamilyIPv4) {
				conn.AddRule(&nftables.Rule{Table: table, Chain: chains[f.hook], Exprs: f.expressions()})
			}
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("write the packet filter of the LAN: %w", err)
	}
	return nil
}

// hookNumber returns the kernel's number of a hook: those of a bridge are numbered as those of IP are.
func hookNumber(h hook) *nftables.ChainHook {
	return map[hook]*nftables.ChainHook{
		entry:  nftables.ChainHookPrerouting,
		origin: nftables.ChainHookOutput,
		leave:  nftables.ChainHookPostrouting,
	}[h]
}

// register is where expressions leave what the next one takes.
const register = 1

// expressions returns the flow in the packet filter's machine language.
func (f flow) expressions() []expr.Any {
	e := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: register},
		equal(binaryutil.BigEndian.PutUint16(unix.ETH_P_IP)),
	}
	if f.port != "" {
		key := expr.MetaKeyIIFNAME
		if f.hook == leave {
			key = expr.MetaKeyOIFNAME
		}
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, f.port)
		e = append(e, &expr.Meta{Key: key, Register: register}, equal(name))
	}
	// Where an IPv4 header has its addresses, and a TCP header its ports.
	const source, destination, sport, dport = 12, 16, 0, 2
	e = append(e, inPrefix(source, f.from)...)
	e = append(e, inPrefix(destination, f.to)...)
	if f.tcp {
		e = append(e, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register}, equal([]byte{unix.IPPROTO_TCP}))
	}
	e = append(e, atPort(sport, f.source, expr.CmpOpEq)...)
	e = append(e, atPort(dport, f.target, expr.CmpOpEq)...)
	e = append(e, atPort(sport, f.notPort, expr.CmpOpNeq)...)
	e = append(e, atPort(dport, f.notPort, expr.CmpOpNeq)...)
	return append(e, f.effect()...)
}

func (f flow) effect() []expr.Any {
	if f.delayed {
		// The filter's own expression for queues is missing in some kernels that have queues; the older target is not.
		info := make(xt.Unknown, 8)
		binary.NativeEndian.PutUint16(info, f.queue)
		return []expr.Any{&expr.Target{Name: "NFQUEUE", Info: &info}}
	}
	drop := &expr.Verdict{Kind: expr.VerdictDrop}
	if f.loss >= scale {
		return []expr.Any{drop}
	}
	return []expr.Any{
		&expr.Numgen{Register: register, Modulus: scale, Type: unix.NFT_NG_RANDOM},
		&expr.Byteorder{SourceRegister: register, DestRegister: register, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpLt, Register: register, Data: binaryutil.BigEndian.PutUint32(uint32(f.loss))},
		drop,
	}
}

func equal(data []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: data} }

func inPrefix(offset uint32, p netip.Prefix) []expr.Any {
	if !p.IsValid() {
		return nil
	}
	mask := binaryutil.BigEndian.PutUint32(^uint32(0) << (32 - p.Bits()))
	return []expr.Any{
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		equal(p.Masked().Addr().AsSlice()),
	}
}

func atPort(offset uint32, port int, op expr.CmpOp) []expr.Any {
	if port == 0 {
		return nil
	}
	return []expr.Any{
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Cmp{Op: op, Register: register, Data: binaryutil.BigEndian.PutUint16(uint16(port))},
	}
}
