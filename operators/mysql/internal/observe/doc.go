// Package observe gathers what a decision rests on: the custom resource and its pods from the operator's cache, and the
// reports of the instances' agents from the link. It is the only reader of the outside. What it cannot see it leaves
// unknown; it never guesses.
//
// Two things it remembers, in memory: the newest state of the custom resource that this process has read or written,
// because the cache may lag behind it, and since when each member has been unfit. The first look at a cluster after a start
// is live: whatever an earlier leader committed, and whatever the user asked it for, is known before anything is decided.
package observe
