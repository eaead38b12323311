// Package explore tries every order in which a few things can happen. It drives the world of package model, which carries
// out the plans of the real topology.Decide, from a named situation, breadth first, and holds every state to the
// invariants of package topology. What chance meets once in many thousand runs, it meets for certain or not at all.
//
// # What is exhaustive about it
//
// A situation has an alphabet of moves (model.Move) and an allowance of what comes from outside: writes, faults, leaders,
// stretches of time, wishes. A state is known by its fingerprint, so it is gone on from only once, at the least depth at
// which it can be reached. A violation is reached by a way than which no way that was tried is shorter.
//
// Without turns, every move of the alphabet that the allowance has left is tried from each state: a search that ends at its
// depth has tried every sequence of that many moves. There are so many that it ends early.
//
// With turns (Situation.ByTurns), the parts act in fair rounds, and Allowance.Delays says how many moves of a run may be put
// off until the next round. What comes from outside may still come at any time, and so may the start of a mysqld and the
// end of a CLONE. A search that ends by itself has tried all runs with that many delays, however long they are.
//
// # What is run together, and why that hides little
//
// The alphabet Usual joins steps that nobody can see apart, or hardly:
//
//   - A report arrives at once (model.Hear) or after the next decision (model.Post). An operator's memory is read by its
//     decisions alone, so that to arrive between two of them is to arrive right after the first. What is left out is a
//     report that is overtaken by two decisions while no other one of the same member is.
//   - The answer to a heartbeat arrives with it, unless a directive is on its way before it. It does no more than to renew
//     a lease; one that is not renewed is what silence and deafness are for.
//   - An agent goes on until it waits for somebody else (model.Act), receiver and applier included. To accept a directive
//     is a move of its own, to fetch and to acknowledge too, and so is each start of mysqld: it is killed between any two
//     of them. What is left out is a death between two steps of one agent.
//
// The alphabet Fine joins nothing of the last kind; it reaches less far.
package explore
