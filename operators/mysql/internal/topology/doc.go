// Package topology decides what a MySQL cluster does next: who is the primary, who votes, who follows, who is rebuilt.
// It is pure: an Observation goes in, a Plan comes out; no clock, no client, no logger. Everything that keeps data safe
// is decided here, so that it can be read in one place, replayed, fuzzed and explored.
//
// # The shape of a decision
//
// The Record (epoch, primary, voters, and a voter change or handover under way) is the only memory. It lives in etcd
// and changes only through a Commit action, which is applied with optimistic locking before anything else follows from
// it. A plan with a commit in it holds no directive that needs the new record: that comes with the next loop. Everything
// else in a plan is a Directive per instance, derived anew from record and reports each time; sending it twice does no
// harm.
//
//	epoch 0    ── bootstrap (nothing has data) or adopt (some volume remembers a record) ──▶ epoch n
//	serving    ── voter change, handover, rolling restart, one at a time ──▶ serving
//	serving    ── primary dead ──▶ fence voters at epoch e ── read quorum ──▶ commit (e, candidate) ──▶ rising ──▶ serving
//
// # Quorums
//
// Of N voters, a commit is acknowledged when W = N/2+1 of them hold it, the primary counted; a promotion asks
// R = N-W+1 of them. So R + W > N, and whoever is promoted has met every acknowledged transaction.
//
// # Invariants
//
// Each has a test of its name.
//
//   - I1 One writable primary per epoch: the record is committed before an instance is told to be primary, and the
//     instance serves only the epoch it was told, never a lower one than it has promised.
//   - I2 Acknowledged means durable on W voters. Only voters acknowledge, and the voter set changes by one member at a
//     time, in an order in which every acknowledged transaction stays within reach of every read quorum.
//   - I3 A promotion follows a fence of R voters, and the candidate holds everything that any of them holds.
//   - I4 Nothing above rests on reaching the old primary, on clocks or on node conditions.
//   - I5 A primary with neither lease nor quorum fences itself within SelfFenceAfter, which is shorter than
//     PromoteAfter; one with its quorum is left alone, whatever the operator can see.
//   - I6 Errant transactions are archived, never merged, never dropped: their holder leaves the voters, then is cloned.
//   - I7 A primary serves nothing before what it holds is on W voters.
//   - I8 After a total outage the most advanced of a read quorum is promoted; without a quorum nobody, unless forced.
//   - I9 Data is overwritten or given up only where another voter quorum holds it: no voter is ever cloned over.
//   - I10 What a voter has received counts as held, applied or not, and no directive makes it drop that.
//   - I11 Every directive carries term and epoch; what a deposed leader says later changes nothing.
//   - I12 A replica follows only the primary of the committed epoch, with that epoch's credential.
package topology
