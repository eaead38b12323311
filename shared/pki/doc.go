// Package pki decides about certificates that a program makes for itself, and
// makes them.
//
// A replica has an authority (a CA) and a leaf, both in memory only: no key is
// ever written anywhere. The public part of the authority is published in places
// that others trust, the bundles of webhook configurations for example. Several
// replicas share each bundle, and so may people.
//
// [Decide] is the whole decision: a reading of the clocks and what is known in,
// steps out. It has no clock, no client and no memory of its own. What it holds
// to, whatever the clocks and the other replicas do:
//
//   - P1: the leaf of another authority is served only once that authority was
//     seen in every place, and stayed there for a while. (The very first leaf
//     replaces nothing.)
//   - P2: neither the authority of the leaf in service nor the one that is to
//     follow is taken out of a place.
//   - P3: an entry that no replica of this group has made is left alone, and so
//     is one whose replica lives, however the clocks stand.
//   - P4: a step is planned only if it gains something: decided again at the same
//     moment, a plan that was carried out is empty, and a leaf is renewed at most
//     three times in the length of its life, whatever renewBefore says.
//
// Two clocks are read ([Moment]). The date says what a certificate is worth to
// others, and can jump; the uptime says how long something has lasted, and
// cannot. A certificate is renewed when either of them says so. A new
// certificate is never younger than the authority before it, so that one made
// while the date was ahead is good at once in the eyes of those whose clock is
// right.
package pki
