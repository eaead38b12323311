package topology

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kapok-operators/kapok/operators/mysql/internal/gtid"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// rise brings a committed primary up and its replicas to it.
func (p *planner) rise(why string) {
	p.lookSoon()
	switch primary := p.o.Primary(); {
	case p.lostRestored() != "":
		why = p.lostRestored()
	case !primary.leading(p.o.Record.Epoch) || p.mayServe(primary):
	case primary.Report.WaitingCommits > 0:
		why = fmt.Sprintf("%s: commits of its own still wait to be on %d of the voters %s", why,
			WriteQuorum(len(p.o.Record.Voters)), list(p.o.Record.Voters))
	default:
		why = fmt.Sprintf("%s: what it holds has to be on %d of the voters %s first, and is on %s; "+
			"if the others are lost for good, name it in the annotation force-promote",
			why, WriteQuorum(len(p.o.Record.Voters)), list(p.o.Record.Voters), list(p.holding(primary, p.o.Record.Voters)))
	}
	p.state(Promoting, why)
	if !p.everServed() {
		p.state(Starting, why)
	}
	p.lead(instance.RolePrimary)
	if primary := p.o.Primary(); primary.leading(p.o.Record.Epoch) && p.o.told(primary) {
		// Commits may wait for a voter that is gone (of two voters, always): the set shrinks before clients are let in.
		if p.o.Record.Change != nil {
			p.changeVoters()
		} else {
			p.beginRemoval()
		}
	}
	p.followers()
}

// everServed says whether any instance remembers having served; before that, the cluster is starting.
func (p *planner) everServed() bool {
	if p.o.ReadWrite != "" {
		return true
	}
	for i := range p.o.Members {
		if r := p.o.Members[i].Report; r != nil && r.Served > 0 {
			return true
		}
	}
	return false
}

// steady runs a cluster whose primary serves: one change at a time, the most urgent first.
func (p *planner) steady() {
	o := p.o
	handingOver := o.Record.Handover != nil && !o.Record.Handover.GivenUp
	if handingOver {
		p.handOver()
	} else {
		p.lead(instance.RolePrimary)
		p.describe()
		p.maintain()
	}
	p.followers()
}

// maintain takes the next step of whatever is to be changed.
func (p *planner) maintain() {
	if p.o.Request.ForcePromote != "" && p.forceAlone() {
		return
	}
	if p.o.Record.Change != nil {
		p.changeVoters()
		return
	}
	if !p.o.told(p.o.Primary()) {
		// The step before must be in force first: else its reports could pass for reports of the next one.
		p.lookSoon()
		return
	}
	if p.beginHandover() || p.beginRemoval() || p.beginAddition() {
		return
	}
	p.roll()
}

// describe says how the cluster stands when nothing special is going on.
func (p *planner) describe() {
	o := p.o
	var missing []string
	for i := range o.Members {
		m := &o.Members[i]
		if o.Wanted(m) && !o.Complete(m) {
			missing = append(missing, m.Name)
		}
	}
	switch {
	case len(missing) > 0:
		p.state(Degraded, fmt.Sprintf("%s serves; not in step: %s", o.Record.Primary, list(missing)))
		p.lookSoon()
	case o.Record.Change != nil || len(o.Record.Voters) != o.Spec.Instances:
		p.state(Changing, "the voters are being changed")
		p.lookSoon()
	default:
		p.state(Healthy, fmt.Sprintf("%s serves and all %d instances vote", o.Record.Primary, o.Spec.Instances))
	}
}

// lead gives the committed primary its role.
func (p *planner) lead(as instance.Role) {
	m := p.o.Primary()
	if m == nil || m.Report == nil {
		return
	}
	duty := instance.PrimaryDuty{
		Acks: p.acks(), Serve: p.mayServe(m), Admitted: p.admitted(m), LeaseMillis: SelfFenceAfter.Milliseconds(),
		// A volume that was lost after the restore, and before the cluster came to life, is not what it begins with.
		Bootstrap: m.Report.Blank && unfounded(p.o) && (restored(*m) || !p.o.Spec.Restore),
	}
	p.assign(m, role{epoch: p.o.Record.Epoch, role: as, primary: &duty, restart: p.mayRestartAlone(m),
		why: fmt.Sprintf("%s is the primary of epoch %d", m.Name, p.o.Record.Epoch)})
}

// mayServe holds a new primary closed until what it holds is on a write quorum (I7). While it is closed that set does
// not grow; once it has served in this epoch, the question is settled. A primary whose epoch is renewed is closed for a
// moment: it may have written more than it has told, and have been killed since. For the same reason nothing of it may wait
// for acknowledgement: what waits is in no set yet, and a restart makes it part of one.
func (p *planner) mayServe(m *Member) bool {
	r, epoch := m.Report, p.o.Record.Epoch
	if r.Served == epoch {
		return true
	}
	source := r.Role == instance.RolePrimary || r.Role == instance.RoleDrain
	return m.alive() && (!source || r.Epoch == epoch) && r.WaitingCommits == 0 && p.holders(m, p.o.Record.Voters) >= WriteQuorum(len(p.o.Record.Voters))
}

// holders counts the voters that hold everything that the primary holds, itself included.
func (p *planner) holders(primary *Member, voters []string) int {
	return len(p.holding(primary, voters))
}

// holding names the voters that hold everything that the primary holds, itself included.
func (p *planner) holding(primary *Member, voters []string) []string {
	var out []string
	for _, name := range voters {
		m := p.o.Member(name)
		if m == primary || m.alive() && !m.Report.Blank && m.Held.Contains(primary.Held) {
			out = append(out, name)
		}
	}
	return out
}

// acks is how many acknowledgements a commit needs now. While a voter enters, the larger of both quorums counts.
func (p *planner) acks() int {
	voters := p.o.Record.Voters
	acks := WriteQuorum(len(voters)) - 1
	change := p.o.Record.Change
	if change == nil || change.Add == "" {
		return acks
	}
	raised := WriteQuorum(len(voters)+1) - 1
	if len(voters) == 1 {
		// The first replica acknowledges before it is counted on, so that no commit waits (I2: scale-up never stalls).
		if m := p.o.Member(change.Add); p.o.Doomed || !p.o.following(m) || !m.Report.Acknowledging {
			return acks
		}
	}
	return raised
}

// following says whether the member follows the committed primary in the committed epoch.
func (o Observation) following(m *Member) bool { return m.following(o.Record.Primary, o.Record.Epoch) }

// admitted lists who may attach to the primary: every voter (but one that is being taken out), and every other member
// of which it is certain that it does not acknowledge. So what counts as acknowledged is what voters hold (I2, I12).
func (p *planner) admitted(primary *Member) []instance.Peer {
	o := p.o
	var out []instance.Peer
	for i := range o.Members {
		m := &o.Members[i]
		if m == primary || !p.mayAttach(m, primary) {
			continue
		}
		peer := instance.Peer{Name: m.Name}
		if m.Report != nil {
			peer.Key = m.Report.SealingKey
		}
		out = append(out, peer)
	}
	return out
}

func (p *planner) mayAttach(m, primary *Member) bool {
	o := p.o
	change := o.Record.Change
	switch {
	case change != nil && change.Remove == m.Name:
		return false
	case o.IsVoter(m.Name):
		return true
	case change != nil && change.Add == m.Name && p.abandoned(m):
		return false
	case primary.leading(o.Record.Epoch) && slices.Contains(primary.Report.Admitted, m.Name):
		// It was admitted as one that does not acknowledge, and nobody begins to without a commit. Whoever stops being a
		// voter, or becoming one, is shut out before that is committed.
		return true
	case m.Report == nil || !m.Connected || m.Report.Term != o.Term:
		return false
	}
	// It may have voted before, and an old report would not tell. So it is let in when it is quiet: then it attaches by a
	// new password, with a directive that says not to acknowledge.
	return m.Report.Epoch != o.Record.Epoch || !m.Report.Receiver.Running
}

// followers gives everybody but the primary a role in the committed epoch.
func (p *planner) followers() {
	primary := p.o.Primary()
	for i := range p.o.Members {
		m := &p.o.Members[i]
		if m.Name == p.o.Record.Primary || m.Report == nil || m.cloning(p.o.Record.Epoch) {
			continue
		}
		p.assign(m, p.follower(m, primary))
	}
}

func (p *planner) follower(m, primary *Member) role {
	o, epoch := p.o, p.o.Record.Epoch
	if !m.alive() {
		// What it holds is seen first: a fallen primary may hold what nobody else does, and must not follow with it (I6).
		down := p.standby(epoch, "wait until its mysqld answers")
		if down.rejoin = p.rejoin(m, primary); down.rejoin != nil {
			down.why = fmt.Sprintf("come back without what %s does not hold", primary.Name)
		}
		return down
	}
	source, ok := p.source(m, primary)
	if !ok || !p.mayAttach(m, primary) {
		return p.standby(epoch, fmt.Sprintf("wait for %s to admit it", o.Record.Primary))
	}
	rebuild := p.rebuild(m, primary)
	voter := o.IsVoter(m.Name)
	switch {
	case rebuild != "" && m.Report.Role == instance.RoleClone && m.Report.Epoch == epoch:
		// Somebody wrote on it as soon as it was rebuilt. To be told to clone again would be no news to it.
		return p.standby(epoch, "it was rebuilt, and has to be once more: "+rebuild)
	case rebuild != "" && !voter && primary.serving(epoch):
		if other := p.cloneUnderWay(m); other != "" {
			return p.standby(epoch, fmt.Sprintf("wait until %s is rebuilt: a server is the donor of one clone at a time", other))
		}
		return role{epoch: epoch, role: instance.RoleClone, why: rebuild,
			clone: &instance.CloneDuty{Source: source, SourceExecuted: donorHolds(m, primary).String(), Why: rebuild}}
	case m.Report.Blank, rebuild != "" && m.Report.Role != instance.RoleReplica:
		return p.standby(epoch, "wait to be rebuilt: "+rebuild)
	}
	change := o.Record.Change
	acknowledge := voter && (change == nil || change.Remove != m.Name)
	if change != nil && change.Add == m.Name && len(o.Record.Voters) == 1 {
		acknowledge = true
	}
	duty := &instance.ReplicaDuty{Source: source, Acknowledge: acknowledge, CatchUp: p.awaited(m, primary)}
	if m.Report.Closed {
		duty.OpenAfter, duty.Closing = primary.Executed.String(), m.Report.Closing
	}
	return role{epoch: epoch, role: instance.RoleReplica, restart: p.mayRestart(m),
		why: fmt.Sprintf("follow %s in epoch %d", o.Record.Primary, epoch), replica: duty}
}

// rejoin is what a former primary whose mysqld does not run needs to know before it starts it. A primary at work in a later
// epoch holds everything that was ever acknowledged before it (I3) and receives from nobody, so that what it holds besides
// its own transactions is final. Whatever else the former primary has in its binary log was acknowledged by too few, and
// as its mysqld is dead, nobody will ever be told otherwise (docs/adr/0007).
func (p *planner) rejoin(m, primary *Member) *instance.RejoinDuty {
	r, epoch := m.Report, p.o.Record.Epoch
	down := r.State == instance.StateDown || r.State == instance.StateStarting
	if !down || r.Blank || r.Served == 0 || r.Served >= epoch || !primary.leading(epoch) || primary.Report.ServerUUID == "" {
		return nil
	}
	uuid := primary.Report.ServerUUID
	return &instance.RejoinDuty{
		Source: primary.Name, ServerUUID: uuid, Holds: primary.Held.Without(strings.ToLower(uuid)).String(),
	}
}

// awaited is what the next decision waits for the member to hold while writers wait for that decision: everything that a
// closed primary holds. What it holds does not grow any more, so that the answer settles it.
func (p *planner) awaited(m, primary *Member) string {
	closed := !primary.Report.Serving && (primary.Report.Role == instance.RolePrimary || primary.Report.Drained)
	if !closed || !p.o.IsVoter(m.Name) {
		return ""
	}
	return primary.Held.String()
}

// donorHolds is what the clone has to hold at least: what the donor has executed, and what the member got of the donor's
// own, which the donor's report may be too old to show. What the member has beyond it is errant and archived (I6).
func donorHolds(m, primary *Member) gtid.Set {
	return primary.Executed.Union(m.Held.Of(strings.ToLower(primary.Report.ServerUUID)))
}

// cloneUnderWay names another member that is being rebuilt, or that comes first; empty if there is none.
func (p *planner) cloneUnderWay(m *Member) string {
	for i := range p.o.Members {
		other := &p.o.Members[i]
		if other.Name != m.Name && (other.cloning(p.o.Record.Epoch) || p.roles[other.Name].role == instance.RoleClone) {
			return other.Name
		}
	}
	return ""
}

// source describes the primary for one member. It is not known until the primary runs in the epoch and has sealed a
// password for the member as it is now.
func (p *planner) source(m, primary *Member) (instance.Source, bool) {
	if primary == nil || !primary.leading(p.o.Record.Epoch) || primary.Pod == nil || primary.Pod.IP == "" {
		return instance.Source{}, false
	}
	sealed, ok := primary.Report.Credentials[m.Name]
	if !ok || sealed.Epoch != p.o.Record.Epoch || !slices.Equal(sealed.Key, m.Report.SealingKey) {
		return instance.Source{}, false
	}
	return instance.Source{Name: primary.Name, Host: primary.Pod.IP, Port: mysqlPort,
		ServerUUID: primary.Report.ServerUUID, Credential: sealed, CA: primary.Report.CA}, true
}

// mysqlPort is where every instance listens.
const mysqlPort = 3306

// The errors of a receiver that no waiting mends: the source has purged what the replica needs.
const (
	errSourcePurged      = 1236
	errSourceFatalPurged = 13114
)

// rebuild says why the member's data has to be replaced by the primary's; empty if it need not.
func (p *planner) rebuild(m, primary *Member) string {
	r := m.Report
	switch {
	case r == nil || !m.Connected:
		return ""
	case r.Blank:
		return "it holds no data yet"
	case !primary.leading(p.o.Record.Epoch):
		return ""
	case r.Receiver.ErrorNumber == errSourcePurged, r.Receiver.ErrorNumber == errSourceFatalPurged:
		return "the primary no longer has the binary logs it needs"
	case r.Applier.ErrorNumber != 0 && r.Epoch == p.o.Record.Epoch && (r.Role == instance.RoleReplica || m.UnfitFor >= StuckAfter):
		// One that has to empty its relay log before it can follow again never becomes a replica if it cannot.
		return fmt.Sprintf("it cannot apply what it received (error %d)", r.Applier.ErrorNumber)
	case !Errant(m, primary).IsEmpty():
		return fmt.Sprintf("it holds transactions that %s does not have", primary.Name)
	}
	return ""
}
