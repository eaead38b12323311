package secretguard_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/kapok-operators/kapok/shared/secretguard"
)

// TestEverySourceIsKnown walks the Go types of a pod's spec and lists every field that
// speaks of a Secret. When Kubernetes adds one, this fails, and somebody decides.
func TestEverySourceIsKnown(t *testing.T) {
	got := map[string]bool{}
	walk(reflect.TypeFor[corev1.PodSpec](), "", got)
	const (
		env     = "refused"
		mounted = "its mounts must be readOnly"
		kubelet = "used by the kubelet, never seen by a container"
		host    = "a path on the host, no Secret"
	)
	want := map[string]string{
		"containers[].env[].valueFrom.secretKeyRef":          env,
		"containers[].envFrom[].secretRef":                   env,
		"volumes[].secret":                                   mounted,
		"volumes[].projected.sources[].secret":               mounted,
		"volumes[].csi.nodePublishSecretRef":                 mounted,
		"volumes[].azureFile.secretName":                     mounted,
		"volumes[].cephfs.secretRef":                         mounted,
		"volumes[].cephfs.secretFile":                        host,
		"volumes[].cinder.secretRef":                         mounted,
		"volumes[].flexVolume.secretRef":                     mounted,
		"volumes[].iscsi.secretRef":                          mounted,
		"volumes[].rbd.secretRef":                            mounted,
		"volumes[].scaleIO.secretRef":                        mounted,
		"volumes[].storageos.secretRef":                      mounted,
		"imagePullSecrets":                                   kubelet,
		"initContainers[].env[].valueFrom.secretKeyRef":      env,
		"initContainers[].envFrom[].secretRef":               env,
		"ephemeralContainers[].env[].valueFrom.secretKeyRef": env,
		"ephemeralContainers[].envFrom[].secretRef":          env,
	}
	for path := range got {
		if want[path] == "" {
			t.Errorf("%s speaks of a Secret, and nobody has decided what the guard does about it", path)
		}
	}
	for path := range want {
		if !got[path] {
			t.Errorf("%s is no more", path)
		}
	}
}

// walk collects the paths of fields whose name or type speaks of a Secret; it does not
// go into them.
func walk(at reflect.Type, path string, into map[string]bool) {
	switch at.Kind() {
	case reflect.Pointer:
		walk(at.Elem(), path, into)
	case reflect.Slice:
		walk(at.Elem(), path+"[]", into)
	case reflect.Map:
		walk(at.Elem(), path+"{}", into)
	case reflect.Struct:
		for field := range at.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			next := path
			if name != "" {
				next = strings.TrimPrefix(path+"."+name, ".")
			}
			kind := field.Type
			for kind.Kind() == reflect.Pointer || kind.Kind() == reflect.Slice {
				kind = kind.Elem()
			}
			if strings.Contains(strings.ToLower(field.Name+kind.Name()), "secret") {
				into[next] = true
				continue
			}
			walk(field.Type, next, into)
		}
	default:
	}
}

// TestRandomPods compares the policy with the same rules written in Go, on random pods.
func TestRandomPods(t *testing.T) {
	namespace := guarded(t, secretguard.ModeDeny)
	dice := rand.New(rand.NewPCG(1, 13))
	broken := 0
	const pods = 400
	for i := range pods {
		random := &corev1.Pod{}
		random.GenerateName, random.Namespace, random.Labels = "r-", namespace, labels
		random.Spec = randomSpec(dice)
		finds := expected(&random.Spec)
		if len(finds) > 0 {
			broken++
		}
		path, object := "spec", any(random)
		write := func() error { return api.Create(t.Context(), random) }
		if all := kinds(); i%3 > 0 {
			k := all[dice.IntN(len(all))]
			made := k.object(namespace, random.Spec)
			path, object = k.path, made
			write = func() error { return api.Create(t.Context(), made) }
		}
		judge(t, secretguard.ModeDeny, write, sentence(path, finds))
		if t.Failed() {
			raw, _ := yaml.Marshal(object)
			t.Fatalf("pod %d:\n%s", i, raw)
		}
	}
	if broken < pods/4 || broken > pods*3/4 {
		t.Errorf("%d of %d pods break a rule: one side is hardly tried", broken, pods)
	}
}

func randomSpec(dice *rand.Rand) corev1.PodSpec {
	local := func() *corev1.LocalObjectReference { return &corev1.LocalObjectReference{Name: "s"} }
	sources := []func() corev1.VolumeSource{
		func() corev1.VolumeSource { return corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}} },
		func() corev1.VolumeSource {
			return corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: *local()}}
		},
		func() corev1.VolumeSource {
			return corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "scratch.example.com"}}
		},
		func() corev1.VolumeSource {
			return corev1.VolumeSource{CephFS: &corev1.CephFSVolumeSource{Monitors: []string{"m"}, SecretFile: "/f"}}
		},
		func() corev1.VolumeSource {
			return corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: *local()}}}}}
		},
		func() corev1.VolumeSource { return corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{}} },
		func() corev1.VolumeSource {
			return corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}
		},
		func() corev1.VolumeSource {
			return corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: *local()}},
				{Secret: &corev1.SecretProjection{LocalObjectReference: *local()}}}}}
		},
		func() corev1.VolumeSource {
			return corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "secrets-store.csi.k8s.io"}}
		},
		func() corev1.VolumeSource {
			return corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "x.example.com", NodePublishSecretRef: local()}}
		},
		func() corev1.VolumeSource {
			return corev1.VolumeSource{CephFS: &corev1.CephFSVolumeSource{Monitors: []string{"m"}, SecretRef: local()}}
		},
		func() corev1.VolumeSource {
			return corev1.VolumeSource{AzureFile: &corev1.AzureFileVolumeSource{SecretName: "s", ShareName: "share"}}
		},
		func() corev1.VolumeSource {
			return corev1.VolumeSource{FlexVolume: &corev1.FlexVolumeSource{Driver: "d/d", SecretRef: local()}}
		},
		func() corev1.VolumeSource {
			return corev1.VolumeSource{ScaleIO: &corev1.ScaleIOVolumeSource{Gateway: "g", System: "s", VolumeName: "v", SecretRef: local()}}
		},
		func() corev1.VolumeSource {
			return corev1.VolumeSource{Cinder: &corev1.CinderVolumeSource{VolumeID: "v", SecretRef: local()}}
		},
		func() corev1.VolumeSource {
			return corev1.VolumeSource{RBD: &corev1.RBDVolumeSource{CephMonitors: []string{"m"}, RBDImage: "i", SecretRef: local()}}
		},
	}
	var out corev1.PodSpec
	for i := range dice.IntN(5) {
		out.Volumes = append(out.Volumes, corev1.Volume{Name: fmt.Sprintf("v%d", i), VolumeSource: sources[dice.IntN(len(sources))]()})
	}
	container := func(name string) corev1.Container {
		c := corev1.Container{Name: name, Image: "i"}
		for i := range dice.IntN(4) {
			e := corev1.EnvVar{Name: fmt.Sprintf("A%d", i), Value: "v"}
			if dice.IntN(8) == 0 {
				e = corev1.EnvVar{Name: e.Name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: *local(), Key: "k"}}}
			}
			c.Env = append(c.Env, e)
		}
		for range dice.IntN(3) {
			from := corev1.EnvFromSource{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: *local()}}
			if dice.IntN(8) == 0 {
				from = corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: *local()}}
			}
			c.EnvFrom = append(c.EnvFrom, from)
		}
		for i, volume := range out.Volumes {
			if dice.IntN(3) > 0 {
				c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volume.Name, MountPath: fmt.Sprintf("/m%d", i), ReadOnly: dice.IntN(4) > 0})
			}
		}
		return c
	}
	for i := range dice.IntN(3) {
		out.InitContainers = append(out.InitContainers, container(fmt.Sprintf("init%d", i)))
	}
	for i := range 1 + dice.IntN(3) {
		out.Containers = append(out.Containers, container(fmt.Sprintf("app%d", i)))
	}
	return out
}

// expected is what the guard has to find in a spec.
func expected(pod *corev1.PodSpec) []string {
	secrets := map[string]string{}
	for _, v := range pod.Volumes {
		if source := secretSource(&v); source != "" {
			secrets[v.Name] = source
		}
	}
	var out []string
	for _, section := range []struct {
		name       string
		containers []corev1.Container
	}{{"initContainers", pod.InitContainers}, {"containers", pod.Containers}} {
		for i, c := range section.containers {
			for j, e := range c.Env {
				if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
					out = append(out, fmt.Sprintf(`%s[%d].env[%d].valueFrom.secretKeyRef (container "%s", variable "%s")`, section.name, i, j, c.Name, e.Name))
				}
			}
			for j, e := range c.EnvFrom {
				if e.SecretRef != nil {
					out = append(out, fmt.Sprintf(`%s[%d].envFrom[%d].secretRef (container "%s")`, section.name, i, j, c.Name))
				}
			}
			for j, m := range c.VolumeMounts {
				if secrets[m.Name] != "" && !m.ReadOnly {
					out = append(out, fmt.Sprintf(`%s[%d].volumeMounts[%d].readOnly (container "%s", %s volume "%s")`, section.name, i, j, c.Name, secrets[m.Name], m.Name))
				}
			}
		}
	}
	return out
}

// secretSource is the JSON name of the source by which a volume names a Secret.
func secretSource(v *corev1.Volume) string {
	switch {
	case v.Secret != nil:
		return "secret"
	case v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(p corev1.VolumeProjection) bool { return p.Secret != nil }):
		return "projected"
	case v.CSI != nil && (v.CSI.NodePublishSecretRef != nil || v.CSI.Driver == "secrets-store.csi.k8s.io"):
		return "csi"
	case v.CephFS != nil && v.CephFS.SecretRef != nil:
		return "cephfs"
	case v.AzureFile != nil:
		return "azureFile"
	case v.FlexVolume != nil && v.FlexVolume.SecretRef != nil:
		return "flexVolume"
	case v.ScaleIO != nil && v.ScaleIO.SecretRef != nil:
		return "scaleIO"
	case v.Cinder != nil && v.Cinder.SecretRef != nil:
		return "cinder"
	case v.RBD != nil && v.RBD.SecretRef != nil:
		return "rbd"
	default:
		return ""
	}
}

// TestLargePods: a pod that is larger than any in use is still judged and not refused
// for its size.
func TestLargePods(t *testing.T) {
	large := func(containers, variables, mounts int, last corev1.EnvVar) corev1.PodSpec {
		var out corev1.PodSpec
		for v := range mounts {
			out.Volumes = append(out.Volumes, corev1.Volume{Name: fmt.Sprintf("v%d", v),
				VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}})
		}
		for i := range containers {
			c := corev1.Container{Name: fmt.Sprintf("c%d", i), Image: "i"}
			for v := range variables {
				c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("V%d", v), Value: "v"})
			}
			for v := range mounts {
				c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: fmt.Sprintf("v%d", v), MountPath: fmt.Sprintf("/m%d", v), ReadOnly: true})
			}
			out.Containers = append(out.Containers, c)
		}
		out.Containers[containers-1].Env = append(out.Containers[containers-1].Env, last)
		return out
	}
	nosy := corev1.EnvVar{Name: "LAST", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "k"}}}
	deny, audit := guarded(t, secretguard.ModeDeny), guarded(t, secretguard.ModeAudit)
	for _, tc := range []struct {
		name string
		spec corev1.PodSpec
		want []string
	}{
		{"right", large(50, 200, 40, corev1.EnvVar{Name: "LAST"}), nil},
		{"wrong in the last of 10050 variables", large(50, 200, 40, nosy),
			[]string{`containers[49].env[200].valueFrom.secretKeyRef (container "c49", variable "LAST")`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for mode, namespace := range map[string]string{secretguard.ModeDeny: deny, secretguard.ModeAudit: audit} {
				p := pod(t, namespace, good)
				p.Spec.Containers, p.Spec.Volumes = tc.spec.Containers, tc.spec.Volumes
				judge(t, mode, func() error { return api.Create(t.Context(), p) }, sentence("spec", tc.want))
			}
		})
	}
}

// TestLongLists: a list that is too long to be looked through is refused, whatever is
// in it, and named.
func TestLongLists(t *testing.T) {
	const beyond = "more than 1000 entries cannot be looked through"
	repeat := func(n int, entry string) string {
		var all []string
		for i := range n {
			all = append(all, strings.ReplaceAll(entry, "#", strconv.Itoa(i)))
		}
		return "[" + strings.Join(all, ", ") + "]"
	}
	for _, mode := range []string{secretguard.ModeDeny, secretguard.ModeAudit} {
		namespace := guarded(t, mode)
		for name, tc := range map[string]struct {
			spec func(n int) string
			find string
		}{
			"env": {func(n int) string {
				return `{containers: [{name: app, image: i, env: ` + repeat(n, "{name: V#}") + `}]}`
			},
				`containers[0].env (container "app", ` + beyond + `)`},
			"envFrom": {func(n int) string {
				return `{containers: [{name: app, image: i, envFrom: ` + repeat(n, "{configMapRef: {name: c}}") + `}]}`
			},
				`containers[0].envFrom (container "app", ` + beyond + `)`},
			"volumeMounts": {func(n int) string {
				return `{containers: [{name: app, image: i, volumeMounts: ` + repeat(n, "{name: v, mountPath: /m#}") + `}], volumes: [{name: v, emptyDir: {}}]}`
			},
				`containers[0].volumeMounts (container "app", ` + beyond + `)`},
			"volumes": {func(n int) string {
				return `{containers: [{name: app, image: i}], volumes: ` + repeat(n, "{name: v#, emptyDir: {}}") + `}`
			},
				`volumes (` + beyond + `)`},
			"sources": {func(n int) string {
				return one("", "projected: {sources: "+repeat(n, "{configMap: {name: c, items: [{key: k, path: p#}]}}")+"}")
			},
				fmt.Sprintf(mountFound, "projected")},
			"containers": {func(n int) string { return `{containers: ` + repeat(n, "{name: c#, image: i}") + `}` },
				`containers (` + beyond + `)`},
			"initContainers": {func(n int) string {
				return `{initContainers: ` + repeat(n, "{name: c#, image: i}") + `, containers: [{name: app, image: i}]}`
			},
				`initContainers (` + beyond + `)`},
		} {
			t.Run(mode+"/"+name, func(t *testing.T) {
				judge(t, mode, func() error { return api.Create(t.Context(), pod(t, namespace, tc.spec(1000)), client.DryRunAll) }, "")
				judge(t, mode, func() error { return api.Create(t.Context(), pod(t, namespace, tc.spec(1001)), client.DryRunAll) },
					sentence("spec", []string{tc.find}))
			})
		}
	}
}

// TestBeyondTheBudget: what takes more than the API server allows for a policy is
// refused rather than let in unseen, and only reported where the guard only reports.
func TestBeyondTheBudget(t *testing.T) {
	var containers []string
	for i := range 20 {
		one := strings.TrimSuffix(strings.TrimPrefix(many(1000), "{containers: ["), "]}")
		containers = append(containers, strings.Replace(one, "name: app", fmt.Sprintf("name: c%d", i), 1))
	}
	text := "{containers: [" + strings.Join(containers, ", ") + "]}"
	deny, audit := guarded(t, secretguard.ModeDeny), guarded(t, secretguard.ModeAudit)
	err := api.Create(t.Context(), pod(t, deny, text), client.DryRunAll)
	if err == nil || !strings.Contains(err.Error(), secretguard.PolicyName) || !strings.Contains(err.Error(), "cost") {
		t.Errorf("it says %.500v, want a refusal for the cost", err)
	}
	warnings.take()
	if err := api.Create(t.Context(), pod(t, audit, text), client.DryRunAll); err != nil {
		t.Errorf("refused where the guard only reports: %v", err)
	}
	if got := warnings.take(); len(got) != 1 || !strings.Contains(got[0], "cost") {
		t.Errorf("warnings %.500q, want one about the cost", got)
	}
}
