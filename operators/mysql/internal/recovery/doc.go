// Package recovery decides about MySQLRestores: whether what is asked for can be had, which MySQLCluster is made for it, and how far that is. It
// looks at nothing and writes nothing; the cluster itself is then founded like any other (see topology).
package recovery
