package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kapok-operators/kapok/shared/secretguard"
)

// The operator's flags for the images of its pods.
const (
	repositoryFlag = "--mysql-image-repository="
	exporterFlag   = "--mysqld-exporter-image="
)

// InstallOperator applies the rendered installation with the Secret injection guard, and waits until every replica of the
// operator is available.
func (l *Lab) InstallOperator(ctx context.Context) error {
	raw, err := os.ReadFile(l.OperatorManifest)
	if err != nil {
		return fmt.Errorf("read the operator's installation (make install-yaml renders it): %w", err)
	}
	objects, err := Decode(raw)
	if err != nil {
		return fmt.Errorf("read %s: %w", l.OperatorManifest, err)
	}
	fingerprint, err := fingerprint(l.Images)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if o.GetKind() == "Deployment" && o.GetName() == OperatorName {
			if err := adapt(o, l.MySQLRepository, l.ExporterImage, fingerprint); err != nil {
				return err
			}
		}
	}
	// Namespaces and definitions first: the rest needs them.
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int { return rank(a) - rank(b) })
	if err := l.applyAll(ctx, objects); err != nil {
		return fmt.Errorf("install the operator: %w", err)
	}
	if err := l.installGuard(ctx); err != nil {
		return err
	}
	return l.WaitOperator(ctx, 2*time.Minute)
}

// installGuard applies the Secret injection guard, which acts in the namespaces that Namespace makes.
func (l *Lab) installGuard(ctx context.Context) error {
	raw, err := os.ReadFile(l.GuardManifest)
	if err != nil {
		return fmt.Errorf("read the Secret injection guard (make install-yaml renders it): %w", err)
	}
	objects, err := Decode(raw)
	if err != nil {
		return fmt.Errorf("read %s: %w", l.GuardManifest, err)
	}
	if err := l.applyAll(ctx, objects); err != nil {
		return fmt.Errorf("install the Secret injection guard: %w", err)
	}
	return nil
}

// WaitOperator waits until every replica of the operator is available.
func (l *Lab) WaitOperator(ctx context.Context, timeout time.Duration) error {
	key := client.ObjectKey{Namespace: OperatorNamespace, Name: OperatorName}
	return l.Wait(ctx, timeout, "the operator", func(ctx context.Context) (bool, string, error) {
		var d appsv1.Deployment
		if err := l.Client.Get(ctx, key, &d); err != nil {
			return NotYet(err)
		}
		done, seen := available(d)
		return done, seen, nil
	})
}

func rank(o *unstructured.Unstructured) int {
	switch o.GetKind() {
	case "Namespace":
		return 0
	case "CustomResourceDefinition":
		return 1
	case "Deployment":
		return 3
	default:
		return 2
	}
}

// applyAll applies the objects in order; each is tried for a while, because a definition that has just been applied may not
// be served yet.
func (l *Lab) applyAll(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		what := o.GetKind() + " " + o.GetName()
		err := l.Wait(ctx, 30*time.Second, what, func(ctx context.Context) (bool, string, error) {
			err := l.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.ForceOwnership, client.FieldOwner(fieldOwner))
			switch {
			case err == nil:
				return true, "", nil
			case meta.IsNoMatchError(err) || apierrors.IsNotFound(err):
				return NotYet(err)
			default:
				return false, "", err
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Apply applies manifests; objects without a namespace go to the given one.
func (l *Lab) Apply(ctx context.Context, namespace string, manifests []byte) error {
	objects, err := Decode(manifests)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if o.GetNamespace() == "" && o.GetKind() != "Namespace" {
			o.SetNamespace(namespace)
		}
	}
	return l.applyAll(ctx, objects)
}

// Decode reads the objects of a YAML stream.
func Decode(raw []byte) ([]*unstructured.Unstructured, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096)
	var objects []*unstructured.Unstructured
	for {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(o)
		switch {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, fmt.Errorf("read object %d: %w", len(objects)+1, err)
		case len(o.Object) > 0:
			objects = append(objects, o)
		}
	}
}

// adapt makes the operator's Deployment fit this lab: the images of its pods, and a mark that replaces its pods
// when an image was loaded anew under the same tag.
func adapt(deployment *unstructured.Unstructured, repository, exporter, fingerprint string) error {
	containers, _, err := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	if err != nil || len(containers) == 0 {
		return errors.Join(errors.New("the operator's Deployment has no containers"), err)
	}
	first, ok := containers[0].(map[string]any)
	if !ok {
		return errors.New("the operator's first container is not an object")
	}
	for flag, image := range map[string]string{repositoryFlag: repository, exporterFlag: exporter} {
		if image == "" {
			continue
		}
		args, _, err := unstructured.NestedStringSlice(first, "args")
		if err != nil {
			return fmt.Errorf("read the operator's arguments: %w", err)
		}
		args = slices.DeleteFunc(args, func(a string) bool { return strings.HasPrefix(a, flag) })
		if err := unstructured.SetNestedStringSlice(first, append(args, flag+image), "args"); err != nil {
			return fmt.Errorf("set the operator's arguments: %w", err)
		}
		if err := unstructured.SetNestedSlice(deployment.Object, containers, "spec", "template", "spec", "containers"); err != nil {
			return fmt.Errorf("set the operator's containers: %w", err)
		}
	}
	return unstructured.SetNestedField(deployment.Object, fingerprint, "spec", "template", "metadata", "annotations", "lab.kapok.dev/images")
}

// fingerprint is a hash of the archives' content.
func fingerprint(archives []string) (string, error) {
	sum := sha256.New()
	for _, path := range archives {
		if err := hashFile(sum, path); err != nil {
			return "", fmt.Errorf("read the image archive: %w", err)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

func hashFile(into io.Writer, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	_, err = io.Copy(into, file)
	return err
}

// Namespace creates a namespace, if it is not there, as strict as namespaces get: it enforces the restricted Pod Security
// Standard, and the Secret injection guard keeps it. What the operator makes has to do with that, and so has the lab.
func (l *Lab) Namespace(ctx context.Context, name string) error {
	ns := corev1ac.Namespace(name).WithLabels(map[string]string{
		"pod-security.kubernetes.io/enforce": "restricted",
		secretguard.LabelMode:                secretguard.ModeDeny,
	})
	if err := l.Client.Apply(ctx, ns, client.ForceOwnership, client.FieldOwner(fieldOwner)); err != nil {
		return fmt.Errorf("create the namespace %s: %w", name, err)
	}
	return nil
}

// DeleteNamespace deletes a namespace and waits until it is gone; a timeout of 0 does not wait.
func (l *Lab) DeleteNamespace(ctx context.Context, name string, timeout time.Duration) error {
	ns := &corev1.Namespace{}
	ns.Name = name
	if err := client.IgnoreNotFound(l.Client.Delete(ctx, ns)); err != nil {
		return fmt.Errorf("delete the namespace %s: %w", name, err)
	}
	if timeout == 0 {
		return nil
	}
	return l.Wait(ctx, timeout, "the end of namespace "+name, func(ctx context.Context) (bool, string, error) {
		err := l.Client.Get(ctx, client.ObjectKey{Name: name}, ns)
		if apierrors.IsNotFound(err) {
			return true, "", nil
		}
		return false, string(ns.Status.Phase), client.IgnoreNotFound(err)
	})
}
