// Package mutation derives changes of a spec from the schema of its API, in the spirit of Acto: for every property the
// values at which software breaks (limits and what is just beyond them, nothing, too much, the wrong kind, texts that mean
// something to somebody else), and beside them scenarios that a schema cannot tell, each with what has to come of it.
//
// It is pure: the same schema, the same spec and the same seed give the same changes. The tests of the API try all of them
// on a real API server; the campaign in test/mutate tries some of them on a cluster that is being written to.
package mutation
