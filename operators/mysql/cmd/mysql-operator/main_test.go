package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"

	"github.com/kapok-operators/kapok/shared/observability/jsonlog"
)

// TestTheDeploymentSaysWhoItIs: its arguments are flags that exist, and what they refer to is in its environment.
func TestTheDeploymentSaysWhoItIs(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "config", "manager", "deployment.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var deployment appsv1.Deployment
	if err := yaml.UnmarshalStrict(raw, &deployment); err != nil {
		t.Fatal(err)
	}
	container := deployment.Spec.Template.Spec.Containers[0]
	// What the manifest itself gives is put in, as the kubelet does it; what only the kubelet knows stays a reference.
	var given []string
	for _, e := range container.Env {
		if e.ValueFrom == nil {
			given = append(given, "$("+e.Name+")", e.Value)
		}
	}
	args := slices.Clone(container.Args)
	for i := range args {
		args[i] = strings.NewReplacer(given...).Replace(args[i])
	}
	c, err := parse(args)
	if err != nil {
		t.Fatal(err)
	}
	if want := (jsonlog.Pod{Namespace: "$(POD_NAMESPACE)", Name: "$(POD_NAME)", UID: "$(POD_UID)"}); c.manager.Pod != want {
		t.Errorf("the pod is %+v", c.manager.Pod)
	}
	fields := map[string]string{}
	for _, e := range container.Env {
		fields[e.Name] = ""
		if e.ValueFrom != nil && e.ValueFrom.FieldRef != nil {
			fields[e.Name] = e.ValueFrom.FieldRef.FieldPath
		}
	}
	for name, want := range map[string]string{"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace", "POD_UID": "metadata.uid"} {
		if fields[name] != want {
			t.Errorf("%s comes from %q, want %q", name, fields[name], want)
		}
	}
	for _, arg := range container.Args {
		for _, found := range regexp.MustCompile(`\$\((\w+)\)`).FindAllStringSubmatch(arg, -1) {
			if _, ok := fields[found[1]]; !ok {
				t.Errorf("%s: %s is not in the environment", arg, found[1])
			}
		}
	}
	if slices.ContainsFunc(container.Args, func(a string) bool { return regexp.MustCompile(`^--?(metrics-insecure|otlp-)`).MatchString(a) }) {
		t.Error("metrics are open, or traces sent, without anybody having asked for it")
	}
}
