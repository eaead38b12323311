package lab

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The parts of an S3 service that a scenario runs in its own namespace.
const (
	// StoreSecret holds the keys of the service, under the names that a cluster expects.
	StoreSecret = "store"
	// StoreBucket is the one bucket.
	StoreBucket = "backups"
	// StoreRegion is the region that it says it is in.
	StoreRegion = "us-east-1"

	storeName    = "store"
	storePort    = 7070
	storeProgram = "versitygw"
	storeFolder  = "/data/buckets"
)

// Store is a pod with a real S3 server (versitygw on an emptyDir) behind a Service.
type Store struct {
	lab        *Lab
	namespace  string
	id, secret string
}

// Store names the S3 service of a namespace and makes its keys; Start runs it.
func (l *Lab) Store(namespace string) *Store {
	return &Store{lab: l, namespace: namespace, id: rand.Text(), secret: rand.Text() + rand.Text()}
}

// Endpoint is where clusters find it.
func (s *Store) Endpoint() string {
	return fmt.Sprintf("http://%s.%s.svc:%d", storeName, s.namespace, storePort)
}

// Keys makes the Secret with the keys.
func (s *Store) Keys(ctx context.Context) error {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: StoreSecret},
		StringData: map[string]string{"access-key-id": s.id, "secret-access-key": s.secret},
	}
	if err := s.lab.Client.Create(ctx, secret); err != nil {
		return fmt.Errorf("create the keys of the store: %w", err)
	}
	return nil
}

// Start runs the server and waits until it answers.
func (s *Store) Start(ctx context.Context) error {
	for _, o := range []client.Object{s.service(), s.pod()} {
		if err := s.lab.Client.Create(ctx, o); err != nil {
			return fmt.Errorf("create the %T of the store: %w", o, err)
		}
	}
	return s.lab.Wait(ctx, time.Minute, "the store", func(ctx context.Context) (bool, string, error) {
		raw, err := s.lab.Core.CoreV1().Pods(s.namespace).ProxyGet("http", storeName, fmt.Sprint(storePort), "/health", nil).DoRaw(ctx)
		if err != nil {
			return NotYet(err)
		}
		return true, string(raw), nil
	})
}

func (s *Store) service() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: storeName},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app.kubernetes.io/name": storeName},
			Ports: []corev1.ServicePort{{Port: storePort}}},
	}
}

func (s *Store) pod() *corev1.Pod {
	no, yes, user, second := false, true, int64(65532), int64(1)
	value := func(name, value string) corev1.EnvVar { return corev1.EnvVar{Name: name, Value: value} }
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: storeName, Labels: map[string]string{"app.kubernetes.io/name": storeName}},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: &no, TerminationGracePeriodSeconds: &second,
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &user, RunAsGroup: &user, FSGroup: &user,
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{
				Name: storeName, Image: s.lab.StoreImage, ImagePullPolicy: corev1.PullIfNotPresent,
				Command: []string{"/" + storeProgram, "posix", storeFolder},
				Env: []corev1.EnvVar{
					// The server takes its keys from nowhere else, and the Secret injection guard lets no Secret into a variable. They are good for this
					// server, for as long as the scenario lasts.
					value("ROOT_ACCESS_KEY_ID", s.id), value("ROOT_SECRET_ACCESS_KEY", s.secret),
					value("VGW_PORT", fmt.Sprintf(":%d", storePort)), value("VGW_REGION", StoreRegion), value("VGW_HEALTH", "/health"),
					value("VGW_META_SIDECAR", "/data/meta"),
				},
				SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
				VolumeMounts: []corev1.VolumeMount{
					// The kubelet makes the folders, and a folder is a bucket.
					{Name: "data", MountPath: "/data/meta", SubPath: "meta"},
					{Name: "data", MountPath: storeFolder, SubPath: "buckets"},
					{Name: "data", MountPath: storeFolder + "/" + StoreBucket, SubPath: "buckets/" + StoreBucket},
				},
			}},
			Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		},
	}
}

// Signal sends a signal to the server: KILL, STOP, CONT. One that is killed is started again by its node, and has kept what it had.
func (s *Store) Signal(ctx context.Context, signal string) error {
	var pod corev1.Pod
	if err := s.lab.Client.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: storeName}, &pod); err != nil {
		return fmt.Errorf("find the store: %w", err)
	}
	_, err := s.lab.onNode(ctx, pod.Spec.NodeName, storeName, storeFolder, storeProgram, "kill -"+signal+` "$P"`)
	return err
}

// CutOff leads its Service nowhere, and Reach to the server again.
func (s *Store) CutOff(ctx context.Context) error { return s.lead(ctx, "nobody") }

// Reach undoes CutOff.
func (s *Store) Reach(ctx context.Context) error { return s.lead(ctx, storeName) }

func (s *Store) lead(ctx context.Context, to string) error {
	service := s.service()
	patch := fmt.Appendf(nil, `{"spec":{"selector":{"app.kubernetes.io/name":%q}}}`, to)
	if err := s.lab.Client.Patch(ctx, service, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("lead the store's Service to %s: %w", to, err)
	}
	return nil
}
