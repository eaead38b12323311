// Package backup decides about backups: what a restore needs and where it stops, what may be deleted, and where a history has a gap. It
// knows what is stored by manifests, and how those are named and written; it copies no data itself.
//
// # What is stored
//
// A full backup is a copy of the data of one instance, in parts. A piece is a stretch of the binary log: whole transactions, in the
// order in which they were committed. Both are described by a manifest, which is stored last: what has none does not exist. A mark says
// up to when the archive is complete, so that a quiet night can be told from a missing one.
//
//	<cluster UID>/full/<name>/manifest.json       a full backup
//	<cluster UID>/full/<name>/<number>            its parts
//	<cluster UID>/binlog/<number>-<epoch>-<instance>.json   a piece's manifest
//	<cluster UID>/binlog/<number>-<epoch>-<instance>        the piece
//	<cluster UID>/binlog/mark.json                the mark
//
// # How a history is put together again
//
// Nobody numbers transactions through all failovers, and two instances may have archived the same ones. So each piece says what it holds
// and what had been executed before its first transaction (Piece.After). A piece can be replayed on data that hold all of the latter;
// transactions that are there already are passed over by their GTIDs. If no piece that brings something new can be replayed, the
// transactions that are missing are known by name: that is a gap.
package backup
