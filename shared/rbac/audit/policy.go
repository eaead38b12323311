package audit

import "strings"

// Policy returns an audit policy that notes what the given users ask of the API
// server, without the content, and nothing else.
func Policy(users ...string) string {
	var b strings.Builder
	b.WriteString("apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- level: Metadata\n  users:\n")
	for _, user := range users {
		b.WriteString("  - \"" + user + "\"\n")
	}
	b.WriteString("- level: None\n")
	return b.String()
}
