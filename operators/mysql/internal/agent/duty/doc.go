// Package duty decides what an agent does next: from what mysqld says, what the agent remembers and what the operator
// wants, to a few small steps. It is pure. The agent takes the steps in order, observes again and asks again, until the
// instance is what it shall be; so a step that failed, or a world that changed meanwhile, needs no code of its own.
//
// What the steps keep, in the words of the design:
//
//   - A server that was a source since mysqld started is never stopped gracefully and never turned into a follower with
//     commits waiting: it is killed, unless it was drained first (I4, I12).
//   - What was received is applied before the relay log is emptied (I10).
//   - Nobody but the admitted members can acknowledge: their accounts are locked and their sessions are gone before
//     writes are let in (I2, I3).
//   - Semi-sync is on, with the right count, before writes are let in; it is turned off only where one copy is enough.
package duty
