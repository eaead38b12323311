// Package gtid is the algebra of MySQL GTID sets: what one server has that another lacks. It is pure and never asks a
// server, so that the same comparison holds in a decision, in a test and in a simulation.
//
// A Set is a value: no method changes its receiver or its arguments, and the zero Set is the empty set.
//
// Tagged GTIDs (uuid:tag:1-5, MySQL 8.3 and later) are understood: a tag opens a number space of its own beside the
// untagged one of the same server.
package gtid
