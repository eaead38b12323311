// Package instance is the contract between the operator and the agent of one MySQL instance: the Report that an agent
// sends whenever something changes, and the Directive that the operator answers with. Both are declarative: a report is
// the whole picture of an instance, a directive the whole of what it should be. Losing or repeating one changes
// nothing. The package is pure (standard library only), so that topology can decide on it and a model can replay it.
//
// # What an agent owes
//
//   - It refuses a directive whose Term is lower than one it has seen (I11) or whose Epoch is lower than one it has
//     promised (I1), and says so in Report.Refused. It writes both to its volume, synced, before it obeys.
//   - It never makes mysqld writable except under RolePrimary with Serve, for exactly the epoch of the directive.
//   - It starts mysqld read-only, unreachable for clients and following nobody; what happens next it is told.
//   - It never stops a source gracefully while commits may wait for acknowledgement: a fence is a SIGKILL.
//   - Before it starts the mysqld of a former primary it waits a moment to be told what the new one holds. What that one
//     does not hold is archived and removed from the binary log, if nothing about it is in doubt (docs/adr/0007).
//   - It never discards a received transaction (I10), never drops an errant one without archiving it first (I6), and
//     overwrites data only under RoleClone.
package instance
