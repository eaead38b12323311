// Package status says what the user is told: the status of the custom resource, its conditions, and events. It is pure:
// everything is derived from one observation, one plan and what came of it. Messages carry no times and no counters, so
// that a status changes only when something has changed.
package status
