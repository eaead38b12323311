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
)

// secretVolumes are the volume sources that name a Secret, each with the condition
// under which it does; v is the volume. Only some of them show the Secret's content
// to the container. The others hand it to a driver, as a credential of storage, and
// are held to the same rule: what a driver does with it is not to be seen from here,
// and storage that a pod writes to belongs behind a PersistentVolumeClaim, whose
// Secret the cluster's administrator names.
var secretVolumes = [...]struct{ source, condition string }{
	{"secret", `has(v.secret)`},
	// No sources at all are null here, and not absent.
	{"projected", `has(v.projected) && v.projected.sources != null && v.projected.sources.exists(s, has(s.secret))`},
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

// verdict is true if the request passes. The cheap questions come first.
const verdict = `variables.unchanged || variables.exempt || variables.findings.size() == 0`

// message lists the findings. It is evaluated for every request, also for one that
// passes.
func message() string {
	return fmt.Sprintf(`%[1]s ? '' :
'a Secret may enter a container only as a file that is mounted with readOnly: true, which does not hold for ' +
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
		// From each volume's name to the source by which it names a Secret, '' if it names none.
		{Name: "volumes", Expression: volumeSources()},
		{Name: "initContainers", Expression: findingsIn("initContainers", "!variables.onlyEphemeral")},
		{Name: "containers", Expression: findingsIn("containers", "!variables.onlyEphemeral")},
		{Name: "ephemeralContainers", Expression: findingsIn("ephemeralContainers", "!(c.name in variables.known)")},
		{Name: "findings", Expression: `variables.initContainers + variables.containers + variables.ephemeralContainers`},
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
	out.WriteString("variables.pod.spec.?volumes.orValue([]).transformMapEntry(i, v, {v.name:\n")
	for _, volume := range secretVolumes {
		fmt.Fprintf(&out, "  %s ? '%s' :\n", volume.condition, volume.source)
	}
	out.WriteString("  ''})")
	return out.String()
}

// findingsIn lists what breaks the rules in those containers of a section for which
// the condition holds; c is the container. A finding is a path below the pod's spec,
// and in brackets what a human would look for there.
func findingsIn(section, condition string) string {
	return fmt.Sprintf(`variables.pod.spec.?%[1]s.orValue([]).transformList(i, c, %[2]s,
  c.?env.orValue([]).transformList(j, e, has(e.valueFrom) && has(e.valueFrom.secretKeyRef),
    '%[1]s[' + string(i) + '].env[' + string(j) + '].valueFrom.secretKeyRef (container "' + c.name + '", variable "' +
    (e.name.size() > %[3]d ? e.name.substring(0, %[3]d) + '...' : e.name) + '")') +
  c.?envFrom.orValue([]).transformList(j, e, has(e.secretRef),
    '%[1]s[' + string(i) + '].envFrom[' + string(j) + '].secretRef (container "' + c.name + '")') +
  c.?volumeMounts.orValue([]).transformList(j, m, variables.volumes[?m.name].orValue('') != '' && !m.?readOnly.orValue(false),
    '%[1]s[' + string(i) + '].volumeMounts[' + string(j) + '].readOnly (container "' + c.name + '", ' +
    variables.volumes[m.name] + ' volume "' + m.name + '")')
).flatten()`, section, condition, shownName)
}

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
