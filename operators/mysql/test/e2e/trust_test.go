//go:build e2e

package e2e

import (
	"context"
	"path"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	mysqlv1 "github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/test/lab"
)

// TestInstancesHaveNoPower: the pods of a cluster can do nothing with the Kubernetes API: the tokens in them are not good for
// it, and their account may do nothing that every account may not do.
func TestInstancesHaveNoPower(t *testing.T) {
	play(t, shop(), takeOver(),
		step{"no token in the pod is good for the API server", func(ctx context.Context, t *testing.T, s *scene) {
			pod := anyPod(ctx, t, s)
			tokens := 0
			for _, v := range pod.Spec.Volumes {
				if v.Projected == nil {
					continue
				}
				for _, source := range v.Projected.Sources {
					if source.ServiceAccountToken == nil {
						continue
					}
					tokens++
					file := path.Join(mountPath(t, pod, v.Name), source.ServiceAccountToken.Path)
					token := got(s.Exec(ctx, pod.Namespace, pod.Name, lab.ServerContainer, "cat", file))(t, "read the token")
					refusedByAPI(ctx, t, s, strings.TrimSpace(token))
				}
			}
			if tokens == 0 {
				t.Error("no token was found in the pod: nothing was tried")
			}
			if pod.Spec.AutomountServiceAccountToken == nil || *pod.Spec.AutomountServiceAccountToken {
				t.Error("the pod takes the API server's token automatically")
			}
		}},
		step{"even a proper token of its account opens nothing", func(ctx context.Context, t *testing.T, s *scene) {
			pod := anyPod(ctx, t, s)
			request := got(s.Core.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName,
				&authenticationv1.TokenRequest{}, metav1.CreateOptions{}))(t, "make a token")
			as := clientWith(t, s, request.Status.Token)
			for _, wish := range []authorizationv1.ResourceAttributes{
				{Verb: "get", Resource: "secrets"}, {Verb: "list", Resource: "secrets"}, {Verb: "get", Resource: "pods"},
				{Verb: "create", Resource: "pods", Subresource: "exec"}, {Verb: "patch", Resource: "pods"},
				{Verb: "update", Resource: "leases", Group: "coordination.k8s.io"},
				{Verb: "patch", Resource: "endpointslices", Group: "discovery.k8s.io"},
				{Verb: "get", Resource: "mysqlclusters", Group: mysqlv1.Group},
				{Verb: "patch", Resource: "mysqlclusters", Subresource: "status", Group: mysqlv1.Group},
			} {
				wish.Namespace = pod.Namespace
				answer := got(as.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
					Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &wish}}, metav1.CreateOptions{}))(t, "ask what is allowed")
				if answer.Status.Allowed {
					t.Errorf("the pods' account may %s %s/%s", wish.Verb, wish.Resource, wish.Subresource)
				}
			}
		}},
	)
}

func anyPod(ctx context.Context, t *testing.T, s *scene) corev1.Pod {
	t.Helper()
	for _, pod := range got(s.Pods(ctx))(t, "list the pods") {
		return pod
	}
	t.Fatal("the cluster has no pod")
	return corev1.Pod{}
}

func mountPath(t *testing.T, pod corev1.Pod, volume string) string {
	t.Helper()
	for _, c := range pod.Spec.Containers {
		for _, m := range c.VolumeMounts {
			if c.Name == lab.ServerContainer && m.Name == volume {
				return m.MountPath
			}
		}
	}
	t.Fatalf("the volume %s is mounted nowhere", volume)
	return ""
}

func clientWith(t *testing.T, s *scene, token string) kubernetes.Interface {
	t.Helper()
	config := rest.AnonymousClientConfig(s.Config)
	config.BearerToken = token
	return got(kubernetes.NewForConfig(config))(t, "build a client")
}

func refusedByAPI(ctx context.Context, t *testing.T, s *scene, token string) {
	t.Helper()
	_, err := clientWith(t, s, token).CoreV1().Pods(s.Key.Namespace).List(ctx, metav1.ListOptions{})
	if !apierrors.IsUnauthorized(err) && !apierrors.IsForbidden(err) {
		t.Errorf("the API server answered a token of the pod: %v", err)
	}
}

// errantStatements write on a replica behind the operator's back, as somebody with root on the instance could.
const errantStatements = `SET GLOBAL super_read_only=OFF;
CREATE DATABASE errant;
CREATE TABLE errant.note (id INT PRIMARY KEY);
INSERT INTO errant.note VALUES (1);
SET GLOBAL super_read_only=ON;`

// TestErrantTransaction: what was written on a replica behind the operator's back is archived, and the replica is rebuilt.
func TestErrantTransaction(t *testing.T) {
	replica := ""
	play(t, shop(), takeOver(), write(false),
		step{"a replica with transactions of its own is told apart and rebuilt", func(ctx context.Context, t *testing.T, s *scene) {
			cluster := got(s.Get(ctx))(t, "read the cluster")
			replica = otherVoter(t, cluster)
			must(t, "open the window", s.workload.Mark(ctx, "errant transaction"))
			must(t, "write on the replica", errOf(s.AsRoot(ctx, replica, errantStatements)))
			must(t, "notice it", errOf(s.WaitCondition(ctx, time.Minute, mysqlv1.ConditionConsistent, metav1.ConditionFalse,
				mysqlv1.ReasonErrantTransactions)))
			must(t, "repair it", errOf(s.WaitCondition(ctx, 2*time.Minute, mysqlv1.ConditionConsistent, metav1.ConditionTrue, "")))
			after := whole(ctx, t, s, lab.Epoch(cluster))
			event := got(s.workload.Recovered(ctx, time.Minute))(t, "write on")
			if lab.Primary(after) != lab.Primary(cluster) || event.Gap() > hung {
				t.Errorf("primary %s -> %s, write gap %s", lab.Primary(cluster), lab.Primary(after), event.Gap())
			}
		}},
		step{"what it had is archived on its volume, and gone from its tables", func(ctx context.Context, t *testing.T, s *scene) {
			found := got(s.Exec(ctx, s.Key.Namespace, replica, lab.ServerContainer, "sh", "-c",
				`grep -rls errant /var/lib/mysql/archive* /var/lib/mysql/*/archive* 2>/dev/null; true`))(t, "look for the archive")
			if strings.TrimSpace(found) == "" {
				t.Error("no archive on the volume names the table that was written")
			}
			pods := got(s.Pods(ctx))(t, "list the pods")
			values, err := s.workload.Query(ctx, pods[replica].Status.PodIP+":3306", "SHOW DATABASES LIKE 'errant'")
			if err != nil || len(values) != 0 {
				t.Errorf("the database is still there: %v, %v", values, err)
			}
		}},
		nothingLost(),
	)
}
