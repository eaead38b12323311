package manifest_test

import (
	"encoding/json"
	"strings"
	"testing"

	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/manifest"
)

// TestAClusterThatHasBegunRestoresNothing: what a new cluster begins with is only in the pods of one that has not begun. A pod that is made
// anew later, on an empty volume, must not come up with data of the past.
func TestAClusterThatHasBegunRestoresNothing(t *testing.T) {
	cluster := furnished()
	before := render(t, objects(t, input(cluster))...)
	cluster.Status.Record = &v1alpha1.Record{Epoch: 1, Primary: "shop-0", Voters: []string{"shop-0"}}
	after := render(t, objects(t, input(cluster))...)
	for _, trace := range []string{"--restore=", "old-backups", "secretName: identity", "/etc/kapok/restore-identity"} {
		if !strings.Contains(before, trace) || strings.Contains(after, trace) {
			t.Errorf("%q: before %t, after %t", trace, strings.Contains(before, trace), strings.Contains(after, trace))
		}
	}
	config := installation()
	fresh, err := config.TemplateHash(furnished())
	if err != nil {
		t.Fatal(err)
	}
	// The first pods are not out of date because the cluster has begun.
	if begun, err := config.TemplateHash(cluster); err != nil || begun != fresh {
		t.Errorf("the template's hash changes when the cluster begins: %v", err)
	}
}

// TestTheRestoreIsReadByAgents: the argument survives the kubelet, which expands $(NAME), and says what the spec says.
func TestTheRestoreIsReadByAgents(t *testing.T) {
	cluster := furnished()
	cluster.Spec.Restore.Target = v1alpha1.BackupTarget{S3: &v1alpha1.S3Target{
		Endpoint: "https://minio.example.com", Bucket: "b", CABundle: "-----BEGIN CERTIFICATE-----\n$(POD_NAME)\n", Credentials: v1alpha1.SecretReference{Name: "old-store"},
	}}
	built := objects(t, input(cluster))
	set, ok := built[len(built)-1].(*appsv1ac.StatefulSetApplyConfiguration)
	if !ok {
		t.Fatalf("the last object is %T", built[len(built)-1])
	}
	argument := ""
	for _, word := range set.Spec.Template.Spec.Containers[0].Command {
		if value, found := strings.CutPrefix(word, "--restore="); found {
			argument = strings.ReplaceAll(value, "$$", "$")
		}
	}
	var duty instance.RestoreDuty
	if err := json.Unmarshal([]byte(argument), &duty); err != nil {
		t.Fatalf("%v in %s", err, argument)
	}
	if duty.Cluster != cluster.Spec.Restore.ClusterUID || duty.Store.S3 == nil || !strings.Contains(duty.Store.S3.CA, "$(POD_NAME)") {
		t.Errorf("%+v", duty)
	}
	// The whole of the second.
	if want := "2026-03-01T09:30:00.999999999Z"; duty.Time == nil || duty.Time.Format("2006-01-02T15:04:05.999999999Z07:00") != want {
		t.Errorf("until %v, want %s", duty.Time, want)
	}
}

// TestPodsAreMadeAnewForWhatTheyMount: another Secret or claim has to be mounted, anything else about backups is told to agents that run.
func TestPodsAreMadeAnewForWhatTheyMount(t *testing.T) {
	config := installation()
	hash := func(change func(*v1alpha1.Backup)) string {
		cluster := furnished()
		change(cluster.Spec.Backup)
		out, err := config.TemplateHash(cluster)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	same := hash(func(*v1alpha1.Backup) {})
	for name, c := range map[string]struct {
		change func(*v1alpha1.Backup)
		anew   bool
	}{
		"another Secret": {func(b *v1alpha1.Backup) { b.Target.S3.Credentials.Name = "others" }, true},
		"a volume": {func(b *v1alpha1.Backup) {
			b.Target = &v1alpha1.BackupTarget{Volume: &v1alpha1.VolumeTarget{ClaimName: "store"}}
		}, true},
		"nothing":        {func(b *v1alpha1.Backup) { b.Target = nil }, true},
		"another bucket": {func(b *v1alpha1.Backup) { b.Target.S3.Bucket = "others" }, false},
		"a schedule":     {func(b *v1alpha1.Backup) { b.Schedule = "0 2 * * *" }, false},
	} {
		if anew := hash(c.change) != same; anew != c.anew {
			t.Errorf("%s: anew %t, want %t", name, anew, c.anew)
		}
	}
	// An operator that learns of backups restarts no database that has none.
	without := plain()
	plainHash, err := config.TemplateHash(without)
	if err != nil {
		t.Fatal(err)
	}
	without.Spec.Backup = &v1alpha1.Backup{Schedule: "0 2 * * *"}
	if got, err := config.TemplateHash(without); err != nil || got != plainHash {
		t.Errorf("spec.backup without a target: %v", err)
	}
}

func TestTargetsAreOnePlace(t *testing.T) {
	bucket := func(change func(*v1alpha1.S3Target)) *v1alpha1.BackupTarget {
		s3 := &v1alpha1.S3Target{Bucket: "b", Region: "r", Prefix: "p", Credentials: v1alpha1.SecretReference{Name: "store"}}
		change(s3)
		return &v1alpha1.BackupTarget{S3: s3}
	}
	base := bucket(func(*v1alpha1.S3Target) {})
	for name, c := range map[string]struct {
		other *v1alpha1.BackupTarget
		same  bool
	}{
		"itself":            {base, true},
		"other credentials": {bucket(func(s *v1alpha1.S3Target) { s.Credentials.Name = "x"; s.CABundle = "y" }), true},
		"another prefix":    {bucket(func(s *v1alpha1.S3Target) { s.Prefix = "x" }), false},
		"another service":   {bucket(func(s *v1alpha1.S3Target) { s.Endpoint = "http://x" }), false},
		"a volume":          {&v1alpha1.BackupTarget{Volume: &v1alpha1.VolumeTarget{ClaimName: "b"}}, false},
	} {
		if got := manifest.SameStore(base, c.other); got != c.same {
			t.Errorf("%s: %t", name, got)
		}
	}
}
