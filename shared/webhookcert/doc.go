// Package webhookcert gives admission and conversion webhooks a serving
// certificate that API servers trust, and changes it without a restart and
// without a failed request.
//
// There are three ways to come by one, behind one interface (Source), chosen by
// a flag:
//
//   - self: each replica makes its own authority and leaf in memory, and merges
//     the authority into the caBundle of the named configurations beside those of
//     the other replicas. Nothing secret is ever stored. Package pki decides.
//   - cert-manager: cert-manager issues and injects; the mounted files are read
//     again when they change. CertManagerObjects renders what it needs.
//   - olm: the Operator Lifecycle Manager does the same for what it installs.
//
// A replica is not ready before every named configuration trusts its
// certificate. Once it was, it stays ready as long as the certificate is valid:
// what goes wrong with a bundle later hits all replicas alike, and taking them
// out of their Service would only add to it. Status tells of it.
package webhookcert
