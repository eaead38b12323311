package secretguard_test

import (
	"fmt"
	"strings"
)

// A row is the spec of a pod, and what the guard finds in it; nothing means that it
// is accepted. A finding is a path below the pod's spec and what stands in brackets.
type row struct {
	name  string
	spec  string
	finds []string
}

// one is a container that mounts the volume v in this way.
func one(mount, volume string) string {
	return fmt.Sprintf(`{containers: [{name: app, image: i, volumeMounts: [{name: v, mountPath: /m%s}]}], volumes: [{name: v, %s}]}`, mount, volume)
}

const (
	readOnly   = ", readOnly: true"
	mountFound = `containers[0].volumeMounts[0].readOnly (container "app", %s volume "v")`
)

// named returns two rows for a volume source that names a Secret: refused as it is,
// accepted where it is mounted read-only.
func named(source, volume string) []row {
	return []row{
		{source + " mounted for writing", one("", volume), []string{fmt.Sprintf(mountFound, source)}},
		{source + " mounted read-only", one(readOnly, volume), nil},
	}
}

// rows is the table. Those of ephemeral containers are in ephemeralRows: a template
// may not have them, and a pod not when it is created.
func rows() []row {
	table := []row{
		{"nothing", `{containers: [{name: app, image: i}]}`, nil},

		// Environment variables.
		{"a variable with a value", `{containers: [{name: app, image: i, env: [{name: A, value: b}]}]}`, nil},
		{"a variable without a value", `{containers: [{name: app, image: i, env: [{name: A}]}]}`, nil},
		{"a variable that is called secretKeyRef", `{containers: [{name: app, image: i, env: [{name: secretKeyRef, value: secretRef}]}]}`, nil},
		{"a variable from a field", `{containers: [{name: app, image: i, env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}]}`, nil},
		{"a variable from a resource", `{containers: [{name: app, image: i, env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}]}]}`, nil},
		{"a variable from a ConfigMap", `{containers: [{name: app, image: i, env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: k}}}]}]}`, nil},
		{"a variable from a file", `{containers: [{name: app, image: i, env: [{name: A, valueFrom: {fileKeyRef: {volumeName: v, path: f, key: k}}}]}], volumes: [{name: v, emptyDir: {}}]}`, nil},
		{"a variable from a Secret", `{containers: [{name: app, image: i, env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]}]}`,
			[]string{`containers[0].env[0].valueFrom.secretKeyRef (container "app", variable "A")`}},
		{"a variable from an optional Secret", `{containers: [{name: app, image: i, env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k, optional: true}}}]}]}`,
			[]string{`containers[0].env[0].valueFrom.secretKeyRef (container "app", variable "A")`}},
		{"a variable from a Secret that is not optional", `{containers: [{name: app, image: i, env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k, optional: false}}}]}]}`,
			[]string{`containers[0].env[0].valueFrom.secretKeyRef (container "app", variable "A")`}},
		{"the third variable of the second container", `{containers: [{name: app, image: i, env: [{name: A, value: a}]}, {name: side, image: i, env: [{name: A, value: a}, {name: B}, {name: C, valueFrom: {secretKeyRef: {name: s, key: k}}}]}]}`,
			[]string{`containers[1].env[2].valueFrom.secretKeyRef (container "side", variable "C")`}},
		{"two variables of one container", `{containers: [{name: app, image: i, env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}, {name: B, valueFrom: {secretKeyRef: {name: s, key: l}}}]}]}`,
			[]string{`containers[0].env[0].valueFrom.secretKeyRef (container "app", variable "A")`,
				`containers[0].env[1].valueFrom.secretKeyRef (container "app", variable "B")`}},
		{"a variable with a very long name", `{containers: [{name: app, image: i, env: [{name: ` + strings.Repeat("L", 300) + `, valueFrom: {secretKeyRef: {name: s, key: k}}}]}]}`,
			[]string{`containers[0].env[0].valueFrom.secretKeyRef (container "app", variable "` + strings.Repeat("L", 60) + `...")`}},
		{"a variable whose name is as long as is shown", `{containers: [{name: app, image: i, env: [{name: ` + strings.Repeat("L", 60) + `, valueFrom: {secretKeyRef: {name: s, key: k}}}]}]}`,
			[]string{`containers[0].env[0].valueFrom.secretKeyRef (container "app", variable "` + strings.Repeat("L", 60) + `")`}},
		{"a variable of an init container from a ConfigMap", `{initContainers: [{name: init, image: i, env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: k}}}]}], containers: [{name: app, image: i}]}`, nil},
		{"a variable of an init container from a Secret", `{initContainers: [{name: init, image: i, env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]}], containers: [{name: app, image: i}]}`,
			[]string{`initContainers[0].env[0].valueFrom.secretKeyRef (container "init", variable "A")`}},
		{"a variable of a sidecar from a Secret", `{initContainers: [{name: first, image: i}, {name: side, image: i, restartPolicy: Always, env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]}], containers: [{name: app, image: i}]}`,
			[]string{`initContainers[1].env[0].valueFrom.secretKeyRef (container "side", variable "A")`}},

		// Whole sets of them.
		{"an empty envFrom", `{containers: [{name: app, image: i, envFrom: []}]}`, nil},
		{"envFrom a ConfigMap", `{containers: [{name: app, image: i, envFrom: [{configMapRef: {name: c}}]}]}`, nil},
		{"envFrom a ConfigMap with a prefix", `{containers: [{name: app, image: i, envFrom: [{prefix: SECRET_, configMapRef: {name: secret}}]}]}`, nil},
		{"envFrom a Secret", `{containers: [{name: app, image: i, envFrom: [{secretRef: {name: s}}]}]}`,
			[]string{`containers[0].envFrom[0].secretRef (container "app")`}},
		{"envFrom an optional Secret", `{containers: [{name: app, image: i, envFrom: [{secretRef: {name: s, optional: true}}]}]}`,
			[]string{`containers[0].envFrom[0].secretRef (container "app")`}},
		{"envFrom a Secret with a prefix, after a ConfigMap", `{containers: [{name: app, image: i, envFrom: [{configMapRef: {name: c}}, {prefix: P_, secretRef: {name: s}}]}]}`,
			[]string{`containers[0].envFrom[1].secretRef (container "app")`}},
		{"envFrom a Secret in an init container", `{initContainers: [{name: init, image: i, envFrom: [{secretRef: {name: s}}]}], containers: [{name: app, image: i}]}`,
			[]string{`initContainers[0].envFrom[0].secretRef (container "init")`}},

		// Mounts.
		{"an emptyDir mounted for writing", one("", "emptyDir: {}"), nil},
		{"a ConfigMap mounted for writing", one("", "configMap: {name: c}"), nil},
		{"a claim mounted for writing", one("", "persistentVolumeClaim: {claimName: c}"), nil},
		{"a generic ephemeral volume mounted for writing", one("", "ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}"), nil},
		{"the downward API mounted for writing", one("", "downwardAPI: {items: [{path: p, fieldRef: {fieldPath: metadata.name}}]}"), nil},
		{"a host's folder mounted for writing", one("", "hostPath: {path: /data}"), nil},
		{"a Secret nobody mounts", `{containers: [{name: app, image: i}], volumes: [{name: v, secret: {secretName: s}}]}`, nil},
		{"a Secret mounted with readOnly: false", one(", readOnly: false", "secret: {secretName: s}"), []string{fmt.Sprintf(mountFound, "secret")}},
		{"an optional Secret mounted for writing", one("", "secret: {secretName: s, optional: true}"), []string{fmt.Sprintf(mountFound, "secret")}},
		{"an optional Secret mounted read-only", one(readOnly, "secret: {secretName: s, optional: true}"), nil},
		{"a Secret without a mode for others, mounted for writing", one("", "secret: {secretName: s, defaultMode: 256, items: [{key: k, path: p, mode: 256}]}"), []string{fmt.Sprintf(mountFound, "secret")}},
		{"a key of a Secret by subPath for writing", one(", subPath: k", "secret: {secretName: s}"), []string{fmt.Sprintf(mountFound, "secret")}},
		{"a key of a Secret by subPath read-only", one(readOnly+", subPath: k", "secret: {secretName: s}"), nil},
		{"a key of a Secret by subPathExpr for writing", `{containers: [{name: app, image: i, env: [{name: A, value: a}], volumeMounts: [{name: v, mountPath: /m, subPathExpr: $(A)}]}], volumes: [{name: v, secret: {secretName: s}}]}`,
			[]string{fmt.Sprintf(mountFound, "secret")}},
		{"a Secret mounted recursively read-only", one(readOnly+", recursiveReadOnly: Enabled", "secret: {secretName: s}"), nil},
		{"a Secret mounted recursively read-only if possible", one(readOnly+", recursiveReadOnly: IfPossible", "secret: {secretName: s}"), nil},
		{"a Secret mounted for writing, recursion disabled", one(", recursiveReadOnly: Disabled", "secret: {secretName: s}"), []string{fmt.Sprintf(mountFound, "secret")}},
		{"a Secret mounted read-only, recursion disabled", one(readOnly+", recursiveReadOnly: Disabled", "secret: {secretName: s}"), nil},
		{"a Secret mounted read-only with propagation", one(readOnly+", mountPropagation: HostToContainer", "secret: {secretName: s}"), nil},
		{"a Secret mounted twice, once for writing", `{containers: [{name: app, image: i, volumeMounts: [{name: v, mountPath: /a, readOnly: true}, {name: v, mountPath: /b}]}], volumes: [{name: v, secret: {secretName: s}}]}`,
			[]string{`containers[0].volumeMounts[1].readOnly (container "app", secret volume "v")`}},
		{"a Secret mounted for writing by the second container only", `{containers: [{name: app, image: i, volumeMounts: [{name: v, mountPath: /a, readOnly: true}]}, {name: side, image: i, volumeMounts: [{name: v, mountPath: /a}]}], volumes: [{name: v, secret: {secretName: s}}]}`,
			[]string{`containers[1].volumeMounts[0].readOnly (container "side", secret volume "v")`}},
		{"a Secret mounted for writing by an init container only", `{initContainers: [{name: init, image: i, volumeMounts: [{name: v, mountPath: /a}]}], containers: [{name: app, image: i, volumeMounts: [{name: v, mountPath: /a, readOnly: true}]}], volumes: [{name: v, secret: {secretName: s}}]}`,
			[]string{`initContainers[0].volumeMounts[0].readOnly (container "init", secret volume "v")`}},
		{"one Secret among other volumes", `{containers: [{name: app, image: i, volumeMounts: [{name: e, mountPath: /e}, {name: c, mountPath: /c}, {name: v, mountPath: /v}]}], volumes: [{name: e, emptyDir: {}}, {name: v, secret: {secretName: s}}, {name: c, configMap: {name: c}}]}`,
			[]string{`containers[0].volumeMounts[2].readOnly (container "app", secret volume "v")`}},
		{"two Secrets, the one for writing", `{containers: [{name: app, image: i, volumeMounts: [{name: a, mountPath: /a, readOnly: true}, {name: b, mountPath: /b}]}], volumes: [{name: a, secret: {secretName: s}}, {name: b, secret: {secretName: s}}]}`,
			[]string{`containers[0].volumeMounts[1].readOnly (container "app", secret volume "b")`}},

		// Projected volumes.
		{"a projected ServiceAccount token mounted for writing", one("", "projected: {sources: [{serviceAccountToken: {path: t}}]}"), nil},
		{"what Kubernetes itself projects for its API", one("", "projected: {sources: [{serviceAccountToken: {path: token, expirationSeconds: 3607}}, {configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}}, {downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}}]}"), nil},
		{"a projected volume without sources", one("", "projected: {sources: []}"), nil},
		{"a Secret as the last projected source, for writing", one("", "projected: {sources: [{configMap: {name: c}}, {serviceAccountToken: {path: t}}, {secret: {name: s}}]}"), []string{fmt.Sprintf(mountFound, "projected")}},
		{"an optional Secret projected, for writing", one("", "projected: {sources: [{secret: {name: s, optional: true}}]}"), []string{fmt.Sprintf(mountFound, "projected")}},

		// CSI drivers.
		{"a CSI driver that is given no Secret", one("", "csi: {driver: scratch.example.com}"), nil},
		{"a CSI driver with attributes that speak of one", one("", "csi: {driver: scratch.example.com, volumeAttributes: {secretName: s}}"), nil},
		{"the Secrets Store driver, read-only as a volume alone", one("", "csi: {driver: secrets-store.csi.k8s.io, readOnly: true, volumeAttributes: {secretProviderClass: p}}"), []string{fmt.Sprintf(mountFound, "csi")}},
		{"the Secrets Store driver, read-only as a mount", one(readOnly, "csi: {driver: secrets-store.csi.k8s.io, readOnly: true, volumeAttributes: {secretProviderClass: p}}"), nil},
		{"the Secrets Store driver of GKE for writing", one("", "csi: {driver: secrets-store-gke.csi.k8s.io}"), []string{fmt.Sprintf(mountFound, "csi")}},

		// What names a Secret and gives it to nobody but the kubelet.
		{"a Secret to pull images with", `{imagePullSecrets: [{name: s}], containers: [{name: app, image: i}]}`, nil},
		{"an image as a volume", one(readOnly, "image: {reference: r, pullPolicy: Always}"), nil},

		// Storage that is asked for without a Secret.
		{"CephFS with a key file of the host", one("", "cephfs: {monitors: [m], secretFile: /etc/ceph/secret}"), nil},
		{"RBD with a keyring of the host", one("", "rbd: {monitors: [m], image: i, keyring: /etc/ceph/keyring}"), nil},
		{"iSCSI without a login", one("", "iscsi: {targetPortal: '10.0.0.1:3260', iqn: 'iqn.2001-04.com.example:disk', lun: 0}"), nil},
		{"a flexible volume without a Secret", one("", "flexVolume: {driver: d/d}"), nil},
		{"Cinder without a Secret", one("", "cinder: {volumeID: v}"), nil},
		{"NFS", one("", "nfs: {server: s, path: /}"), nil},

		// Everything at once.
		{"all rules broken by all containers", `{initContainers: [{name: init, image: i, env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}], envFrom: [{secretRef: {name: s}}], volumeMounts: [{name: v, mountPath: /v}]}],
containers: [{name: app, image: i, env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}], envFrom: [{secretRef: {name: s}}], volumeMounts: [{name: v, mountPath: /v}]}], volumes: [{name: v, secret: {secretName: s}}]}`,
			[]string{`initContainers[0].env[0].valueFrom.secretKeyRef (container "init", variable "A")`,
				`initContainers[0].envFrom[0].secretRef (container "init")`,
				`initContainers[0].volumeMounts[0].readOnly (container "init", secret volume "v")`,
				`containers[0].env[0].valueFrom.secretKeyRef (container "app", variable "A")`,
				`containers[0].envFrom[0].secretRef (container "app")`,
				`containers[0].volumeMounts[0].readOnly (container "app", secret volume "v")`}},
		{"ten findings", many(10), manyFound(10)},
		{"more findings than are listed", many(13), manyFound(13)},
	}
	for _, rows := range [][]row{
		named("secret", "secret: {secretName: s}"),
		named("projected", "projected: {sources: [{secret: {name: s}}]}"),
		named("csi", "csi: {driver: storage.example.com, nodePublishSecretRef: {name: s}}"),
		named("azureFile", "azureFile: {secretName: s, shareName: share}"),
		named("cephfs", "cephfs: {monitors: [m], secretRef: {name: s}}"),
		named("cinder", "cinder: {volumeID: v, secretRef: {name: s}}"),
		named("flexVolume", "flexVolume: {driver: d/d, secretRef: {name: s}}"),
		named("iscsi", "iscsi: {targetPortal: '10.0.0.1:3260', iqn: 'iqn.2001-04.com.example:disk', lun: 0, chapAuthSession: true, secretRef: {name: s}}"),
		named("rbd", "rbd: {monitors: [m], image: i, secretRef: {name: s}}"),
		named("scaleIO", "scaleIO: {gateway: g, system: s, volumeName: v, storageMode: ThinProvisioned, secretRef: {name: s}}"),
		named("storageos", "storageos: {volumeName: v, secretRef: {name: s}}"),
	} {
		table = append(table, rows...)
	}
	return table
}

func many(n int) string {
	var variables []string
	for i := range n {
		variables = append(variables, fmt.Sprintf("{name: V%d, valueFrom: {secretKeyRef: {name: s, key: k}}}", i))
	}
	return `{containers: [{name: app, image: i, env: [` + strings.Join(variables, ", ") + `]}]}`
}

func manyFound(n int) []string {
	var found []string
	for i := range n {
		found = append(found, fmt.Sprintf(`containers[0].env[%d].valueFrom.secretKeyRef (container "app", variable "V%d")`, i, i))
	}
	return found
}

// ephemeralRows are rows whose ephemeral containers are added to a pod that runs the
// rest.
func ephemeralRows() []row {
	with := func(container string) string {
		return `{containers: [{name: app, image: i}], volumes: [{name: v, secret: {secretName: s}}, {name: w, emptyDir: {}}, {name: p, projected: {sources: [{secret: {name: s}}]}}], ephemeralContainers: [` + container + `]}`
	}
	return []row{
		{"a plain one", with(`{name: debug, image: i}`), nil},
		{"one with a value", with(`{name: debug, image: i, env: [{name: A, value: b}]}`), nil},
		{"one that mounts a Secret read-only", with(`{name: debug, image: i, volumeMounts: [{name: v, mountPath: /v, readOnly: true}]}`), nil},
		{"one that mounts an emptyDir for writing", with(`{name: debug, image: i, volumeMounts: [{name: w, mountPath: /w}]}`), nil},
		{"one that mounts a Secret for writing", with(`{name: debug, image: i, volumeMounts: [{name: v, mountPath: /v}]}`),
			[]string{`ephemeralContainers[0].volumeMounts[0].readOnly (container "debug", secret volume "v")`}},
		{"one that mounts a projected Secret for writing", with(`{name: debug, image: i, volumeMounts: [{name: p, mountPath: /p}]}`),
			[]string{`ephemeralContainers[0].volumeMounts[0].readOnly (container "debug", projected volume "p")`}},
		{"one with a variable from a Secret", with(`{name: debug, image: i, env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]}`),
			[]string{`ephemeralContainers[0].env[0].valueFrom.secretKeyRef (container "debug", variable "A")`}},
		{"two, the second with variables from a Secret", with(`{name: debug, image: i}, {name: more, image: i, targetContainerName: app, envFrom: [{secretRef: {name: s}}]}`),
			[]string{`ephemeralContainers[1].envFrom[0].secretRef (container "more")`}},
	}
}
