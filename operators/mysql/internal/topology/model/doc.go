// Package model is a small world in which the plans of topology are carried out: volumes, mysqlds and agents, links that
// lose and delay, an etcd record with optimistic locking, and several operators of which at most one leads. It executes
// the real plans and directives and never repeats a decision. It is deterministic: the same choices give the same world,
// so that a seed is a reproduction, and an explorer can drive it instead of chance.
//
// # What is modelled of MySQL
//
//   - A transaction is durable in its source's binary log before it is sent. Its commit returns when as many attached,
//     acknowledging replicas as asked have received it (AFTER_SYNC, no fallback to asynchronous). Until then it is in no
//     executed set.
//   - SIGKILL loses nothing that was written. Recovery commits the waiting tail, unless it was removed from the binary log
//     before: then recovery rolls it back.
//   - What a replica received stays in its relay log over a restart; it is executed later, in order.
//   - A receiver reconnects by itself for as long as it was told to run and its password is good.
//   - A server hands out the lowest transaction number above those it has; CLONE replaces everything.
//
// # What is modelled of an agent
//
// What package instance asks of one, plus these:
//
//   - It follows the last accepted directive over restarts of mysqld (a repeated directive is not sent again), with one
//     exception: mysqld that has been started since it served an epoch is not opened again for that epoch or a lower
//     one. Its recovered tail is on nobody else (I7); it waits for a new epoch.
//   - It reports a role only when it has taken it on, and reads the sets after it stopped the receiver.
//   - An instance that is given new data by CLONE gets a new server UUID, so that no transaction number is ever used
//     twice for different contents.
//   - A former primary that is told, before its mysqld is started again, what the new one holds, removes the waiting
//     transactions that are no part of that, and gets a new server UUID with it. If it finds unknown transactions that do
//     not wait, it removes nothing. Whether it is told in time is left to chance, as is where in it the pod ends: archive,
//     cut and start count as one step, because each is carried on from where it stood.
//   - A member that is admitted again gets a new password, and the sessions of the old one are ended.
//   - A report of acknowledgements in force is taken before the executed set of the same report.
package model
