// Package chaos breaks a MySQL cluster under load and judges by history whether it kept its promises.
//
// A campaign is a sequence of rounds. Which rounds those are follows from a seed and nothing else (Schedule), so that
// round 13 of seed 7 is the same wherever and whenever it is run. In each round recorders on every node write and read through
// the Services; one or two faults are injected, held and healed (package file inject*.go); the cluster has to be whole again
// within the fault's bound; then the round's history is judged (Judge) and the raw history is kept.
//
//	schedule (pure) ─▶ inject ─▶ hold ─▶ heal ─▶ converge ─▶ gather ─▶ judge (pure) ─▶ report
package chaos
