package v1alpha1

// Requests that are made by annotating a MySQLCluster. They are not part of the spec because they ask for one act, not
// for a lasting state: the operator removes the annotation when it has answered the request, and an event says how.
const (
	// AnnotationSwitchover asks for a planned change of the primary. The value is the name of the instance that shall
	// become the primary ("shop-1"), or SwitchoverAny to leave the choice to the operator. The old primary finishes
	// what it has begun, the new one takes over once it holds everything; writes pause for a moment, nothing is lost.
	// The request is refused, with an event that says why, if the instance is unknown or is not a voter that keeps up.
	//
	//	kubectl annotate mysql shop mysql.kapok.dev/switchover=any
	AnnotationSwitchover = Group + "/switchover"

	// SwitchoverAny is the value of AnnotationSwitchover that lets the operator choose.
	SwitchoverAny = "any"

	// AnnotationForcePromote overrides the quorum (I8). The value is the name of the instance to promote. Use it only
	// when the condition Available says QuorumLost and the missing instances are gone for good: transactions that were
	// acknowledged and are held only by missing instances are lost. Nothing else in the operator ever risks that. The
	// request is ignored, with an event, while a quorum can still be had. It is recorded as a Warning event before it
	// is acted on.
	//
	//	kubectl annotate mysql shop mysql.kapok.dev/force-promote=shop-2
	AnnotationForcePromote = Group + "/force-promote"

	// AnnotationWithoutBackup lets an upgrade go on without the full backup that is taken before it where spec.backup has a
	// target. The value is the image that instances are to be made anew with, so that it is good for that upgrade alone. It stays
	// on the MySQLCluster and does no harm there.
	//
	//	kubectl annotate mysql shop mysql.kapok.dev/upgrade-without-backup=docker.io/library/mysql:9.7.1
	AnnotationWithoutBackup = Group + "/upgrade-without-backup"

	// AnnotationDrill asks for a restore drill now, where spec.backup.verify is set. The value is anything that it did not have before, such as the
	// date: a drill is held for each value once. It stays on the MySQLCluster and does no harm there.
	//
	//	kubectl annotate mysql shop --overwrite mysql.kapok.dev/drill="$(date)"
	AnnotationDrill = Group + "/drill"
)
