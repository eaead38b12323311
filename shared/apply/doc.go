// Package apply brings objects to their desired state by server-side apply,
// without a single write when there is nothing to do.
//
// # When a write is skipped
//
// An object is left alone if both of these hold for its cached copy:
//
//   - the annotation AnnotationApplied equals the hash of the desired apply
//     configuration, so nothing was added, changed or removed there since; and
//   - every field of the desired configuration is still owned by this field
//     manager and has the desired value, so nobody else changed it (no drift).
//
// Ownership is read from the object's managedFields, which name the keys by
// which list elements are told apart; thus no schema is needed. A cache that
// strips managedFields from a kind makes drift invisible: for such a kind every
// round writes. Never combine the two.
//
// One repair is beyond server-side apply: if somebody changes a field by which
// list elements are told apart (a Service's port number), the element becomes
// theirs, and the API server refuses the two side by side. Apply returns its
// error then, and a human has to undo the change.
//
// # Pruning
//
// Prune deletes objects that a former configuration made and the present one
// does not mention: of the given kinds only, controlled by the given owner, and
// carrying the given labels. PersistentVolumeClaims are refused outright.
package apply
