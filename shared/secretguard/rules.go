package secretguard

import (
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
)

const (
	// listed is how many findings a message names. With it a message stays below the
	// 5 KiB beyond which the API server drops it.
	listed = 10
	// shownName is how much is shown of the name of an environment variable, which
	// has no upper length; the other names have.
	shownName = 60
	// longest is how long a list may be to be looked through; one that is longer is a
	// finding itself. In Kubernetes 1.37 a CEL macro over a list takes time that grows
	// with the square of its length, which the API server's budget does not count: 0.1 s
	// for 10000 entries, 1.5 s for 40000. At 1000 it is some milliseconds.
	longest = 1000
)

// secretVolumes are the volume sources that name a Secret, each with the condition
// under which it does; v is the volume. Only some of them show the Secret's content
// to the container. The others hand it to a driver, as a credential of storage, and
// are held to the same rule: what a driver does with it is not to be seen from here,
// and storage that a pod writes to belongs behind a PersistentVolumeClaim, whose
// Secret the cluster's administrator names.
func secretVolumes() []struct{ source, condition string } {
	return []struct{ source, condition string }{
		{"secret", `has(v.secret)`},
		// No sources at all are null here, and not absent. Of more than can be looked through, one is taken for a Secret.
		{"projected", `has(v.projected) && v.projected.sources != null &&
    (` + tooLong("v.projected.sources") + ` || v.projected.sources.exists(s, has(s.secret)))`},
		// The drivers' volumes hold secrets that come from elsewhere; the rest is told by the Secret it is given.
		{"csi", `has(v.csi) && (has(v.csi.nodePublishSecretRef) || v.csi.driver in ['secrets-store.csi.k8s.io', 'secrets-store-gke.csi.k8s.io'])`},
		{"azureFile", `has(v.azureFile)`},
		{"cephfs", `has(v.cephfs) && has(v.cephfs.secretRef)`},
		{"cinder", `has(v.cinder) && has(v.cinder.secretRef)`},
		{"flexVolume", `has(v.flexVolume) && has(v.flexVolume.secretRef)`},
		{"iscsi", `has(v.iscsi) && has(v.iscsi.secretRef)`},
		{"rbd", `has(v.rbd) && has(v.rbd.secretRef)`},
		{"scaleIO", `has(v.scaleIO) && has(v.scaleIO.secretRef)`},
		{"storageos", `has(v.storageos) && has(v.storageos.secretRef)`},
	}
}

// verdict is true if the request passes. The cheap questions come first.
const verdict = `variables.unchanged || variables.exempt || variables.findings.size() == 0`

// message lists the findings. It is evaluated for every request, also for one that
// passes. It begins with the object, which a warning does not name by itself: kubectl
// shows equal warnings once.
func message() string {
	return fmt.Sprintf(`%[1]s ? '' :
request.kind.kind + ' ' + variables.given.metadata.name +
': a Secret may enter a container only as a file that is mounted with readOnly: true, which does not hold for ' +
(variables.findings.size() == 1 ? '' : string(variables.findings.size()) + ' fields: ') +
variables.findings.slice(0, variables.findings.size() < %[2]d ? variables.findings.size() : %[2]d).map(f, variables.path + '.' + f).join(', ') +
(variables.findings.size() > %[2]d ? ', and ' + string(variables.findings.size() - %[2]d) + ' more' : '')`, verdict, listed)
}

// exemption is what the audit log says about a request that was not looked at. It
// must never fail: an error in it refuses the request even where the guard only
// reports.
const exemption = `variables.exempt && !variables.unchanged ? 'the pod has the label kapok.dev/secret-guard=exempt' : ''`

// variables are what the rules are made of, each from those before it.
func variables() []admissionregistrationv1.Variable {
	return []admissionregistrationv1.Variable{
		// Without types: the fields depend on the kind, and the API server would report as a mistake each one that a kind lacks.
		{Name: "given", Expression: `dyn(object)`},
		{Name: "before", Expression: `dyn(oldObject)`},
		// The pod, or the template of pods, with its metadata.
		{Name: "pod", Expression: podOf("variables.given", "variables.given", "variables.given.template",
			"variables.given.spec.template", "variables.given.spec.jobTemplate.spec.template")},
		{Name: "path", Expression: podOf("variables.given", "'spec'", "'template.spec'",
			"'spec.template.spec'", "'spec.jobTemplate.spec.template.spec'")},
		{Name: "podBefore", Expression: podOf("variables.before", "variables.before", "variables.before.template",
			"variables.before.spec.template", "variables.before.spec.jobTemplate.spec.template")},
		// What was let in before the guard came may be scaled, labelled, and deleted with its finalizers. A changed template
		// makes new pods and has to obey, whatever was changed: they would be refused one by one otherwise.
		{Name: "unchanged", Expression: `oldObject != null && variables.pod == variables.podBefore`},
		{Name: "exempt", Expression: fmt.Sprintf(
			`namespaceObject.metadata.?labels[?'%s'].orValue('') == '%s' && variables.pod.?metadata.?labels[?'%s'].orValue('') == '%s'`,
			LabelExemptions, ExemptionsAllowed, LabelMode, Exempt)},
		// Whoever adds an ephemeral container answers for that one alone.
		{Name: "onlyEphemeral", Expression: `has(request.subResource) && request.subResource == 'ephemeralcontainers'`},
		{Name: "known", Expression: `variables.onlyEphemeral
  ? variables.before.spec.?ephemeralContainers.orValue([]).transformMapEntry(i, c, {c.name: true})
  : {}`},
		{Name: "beyond", Expression: fmt.Sprintf("'more than %d entries cannot be looked through'", longest)},
		// From each volume's name to the source by which it names a Secret, '' if it names none.
		{Name: "volumes", Expression: volumeSources()},
		{Name: "initContainers", Expression: findingsIn("initContainers", "!variables.onlyEphemeral")},
		{Name: "containers", Expression: findingsIn("containers", "!variables.onlyEphemeral")},
		{Name: "ephemeralContainers", Expression: findingsIn("ephemeralContainers", "!(c.name in variables.known)")},
		{Name: "findings", Expression: fmt.Sprintf(`(%s ? ['volumes (' + variables.beyond + ')'] : []) +
variables.initContainers + variables.containers + variables.ephemeralContainers`, tooLong("variables.pod.spec.?volumes.orValue([])"))},
	}
}

// podOf chooses by the kind of an object, told by its fields: a pod itself, a
// PodTemplate, an object with a template of pods, or one with a template of Jobs.
func podOf(object, pod, podTemplate, workload, cronJob string) string {
	return fmt.Sprintf(`has(%[1]s.template) ? %[3]s :
has(%[1]s.spec.jobTemplate) ? %[5]s :
has(%[1]s.spec.template) ? %[4]s :
%[2]s`, object, pod, podTemplate, workload, cronJob)
}

// volumeSources makes a map of the pod's volumes. A mount of a name that is not in
// it is one of a StatefulSet's volumeClaimTemplates.
func volumeSources() string {
	var out strings.Builder
	const all = "variables.pod.spec.?volumes.orValue([])"
	fmt.Fprintf(&out, "%s ? {} :\n%s.transformMapEntry(i, v, {v.name:\n", tooLong(all), all)
	for _, volume := range secretVolumes() {
		fmt.Fprintf(&out, "  %s ? '%s' :\n", volume.condition, volume.source)
	}
	out.WriteString("  ''})")
	return out.String()
}

// findingsIn lists what breaks the rules in those containers of a section for which
// the condition holds; c is the container. A finding is a path below the pod's spec,
// and in brackets what a human would look for there.
func findingsIn(section, condition string) string {
	// finding is the CEL expression of one: where is below the container, what ends the brackets.
	finding := func(where, what string) string {
		return fmt.Sprintf(`'%s[' + string(i) + '].%s (container "' + c.name + '"%s`, section, where, what)
	}
	// within looks through a list of a container; the entry j is named as broken calls it.
	within := func(list, entry, broken, found string) string {
		field := fmt.Sprintf("c.?%s.orValue([])", list)
		return fmt.Sprintf("(%s\n    ? [%s]\n    : %s.transformList(j, %s, %s,\n      %s))",
			tooLong(field), finding(list, ", ' + variables.beyond + ')'"), field, entry, broken, found)
	}
	all := fmt.Sprintf("variables.pod.spec.?%s.orValue([])", section)
	return fmt.Sprintf("%s ? ['%s (' + variables.beyond + ')'] :\n%s.transformList(i, c, %s,\n  %s\n).flatten()",
		tooLong(all), section, all, condition, strings.Join([]string{
			within("env", "e", "has(e.valueFrom) && has(e.valueFrom.secretKeyRef)",
				finding("env[' + string(j) + '].valueFrom.secretKeyRef",
					fmt.Sprintf(`, variable "' + (e.name.size() > %[1]d ? e.name.substring(0, %[1]d) + '...' : e.name) + '")'`, shownName))),
			within("envFrom", "e", "has(e.secretRef)",
				finding("envFrom[' + string(j) + '].secretRef", ")'")),
			within("volumeMounts", "m", "variables.volumes[?m.name].orValue('') != '' && !m.?readOnly.orValue(false)",
				finding("volumeMounts[' + string(j) + '].readOnly", `, ' + variables.volumes[m.name] + ' volume "' + m.name + '")'`)),
		}, " +\n  "))
}

// tooLong says of a list that it cannot be looked through.
func tooLong(list string) string { return fmt.Sprintf("%s.size() > %d", list, longest) }

// labelValue is the rule for a label of a Namespace: one of these values, or the
// value that it had before.
func labelValue(label string, values ...string) admissionregistrationv1.Validation {
	return admissionregistrationv1.Validation{
		Expression: fmt.Sprintf(`object.metadata.?labels[?'%[1]s'].orValue('%[2]s') in ['%[3]s'] ||
(oldObject != null && oldObject.metadata.?labels[?'%[1]s'] == object.metadata.?labels[?'%[1]s'])`,
			label, values[0], strings.Join(values, "', '")),
		Message: fmt.Sprintf("metadata.labels: the label %s must be %s, or absent", label, strings.Join(values, " or ")),
	}
}
