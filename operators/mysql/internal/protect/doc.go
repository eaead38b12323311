// Package protect decides about the backups of a cluster: which instance archives, which takes a full backup and when, what becomes of the
// MySQLBackups, and when what they describe is deleted. It looks at nothing and writes nothing; see observe and act.
//
// A decision rests on objects and reports alone, so that an operator that starts anew goes on where another one ended: which instance takes a
// backup is in the status of its MySQLBackup before the instance is told.
package protect
