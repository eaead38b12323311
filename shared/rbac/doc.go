// Package rbac holds an operator to least privilege.
//
//   - Parse reads roles and bindings from rendered manifests; Grants says what
//     they give to one account.
//   - Preflight asks the API server at start whether everything that is needed
//     is granted, and names what is not in plain words.
//   - Package policy refuses what no operator should be given, package audit
//     compares what was granted with what was done.
package rbac
