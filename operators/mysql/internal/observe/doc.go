// Package observe gathers what a decision rests on: the custom resource and its pods from the operator's cache, and the
// reports of the instances' agents from the link. It is the only reader of the outside. What it cannot see it leaves
// unknown; it never guesses.
//
// Two things it remembers, in memory: the newest committed record that this process has seen or written, because the
// cache may lag behind it, and since when each member has been unfit. The first look at a cluster after a start reads
// the record live: whatever an earlier leader committed is known before anything is decided.
package observe
