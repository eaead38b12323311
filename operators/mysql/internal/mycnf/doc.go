// Package mycnf says which options of mysqld belong to the operator: those on which data safety, fencing or the shape of
// the pod rests. A user's configuration may set every other option. Admission and the agent use the same list.
package mycnf
