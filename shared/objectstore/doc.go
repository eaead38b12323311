// Package objectstore keeps streams of bytes under names, outside of the cluster that they came from: backups, and what
// backups are made of. A Store is a bucket or a folder of a volume; where it is does not show.
//
// An object is there as a whole or not at all, and is durable when Put has returned. That is what a store promises, and not every
// one keeps it. What must not be lost is therefore written by Save and read by Open, which believe nothing: a Digest of what was
// written is kept elsewhere, the stored size is asked for after the write, and a reader learns at the end, before he has seen the
// end, whether he has read exactly that.
package objectstore
