package manifest

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/kapok-operators/kapok/operators/mysql/api/v1alpha1"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

// Where an instance finds what its backups, and the restore that it begins with, need. The agent's flags have the same defaults.
const (
	backupCredentials  = "/etc/kapok/backup"
	backupFolder       = "/backup"
	restoreCredentials = "/etc/kapok/restore"
	restoreFolder      = "/restore"
	restoreIdentity    = "/etc/kapok/restore-identity"
)

// The volumes of backups and of a restore.
const (
	backupVolume             = "backup"
	backupCredentialsVolume  = "backup-credentials"
	restoreVolume            = "restore"
	restoreCredentialsVolume = "restore-credentials"
	restoreIdentityVolume    = "restore-identity"
)

// Store is a target as agents know it.
func Store(target *v1alpha1.BackupTarget) instance.Store {
	if s3 := target.S3; s3 != nil {
		return instance.Store{S3: &instance.S3Store{
			Endpoint: s3.Endpoint, Bucket: s3.Bucket, Region: s3.Region, Prefix: s3.Prefix, PathStyle: s3.PathStyle, CA: s3.CABundle,
		}}
	}
	return instance.Store{Volume: true}
}

// SameStore says whether two targets are one place, with whatever credentials.
func SameStore(a, b *v1alpha1.BackupTarget) bool {
	place := func(t *v1alpha1.BackupTarget) v1alpha1.BackupTarget {
		t = t.DeepCopy()
		if t.S3 != nil {
			t.S3.Credentials, t.S3.CABundle, t.S3.PathStyle = v1alpha1.SecretReference{}, "", false
		}
		return *t
	}
	return equality.Semantic.DeepEqual(place(a), place(b))
}

// backupTarget is where a cluster's backups go; nil if nowhere.
func backupTarget(cluster *v1alpha1.MySQLCluster) *v1alpha1.BackupTarget {
	if cluster.Spec.Backup == nil {
		return nil
	}
	return cluster.Spec.Backup.Target
}

// toRestore is what a cluster begins with, for as long as it has not begun: later nobody needs it, and a pod that is made anew must not have it.
func toRestore(cluster *v1alpha1.MySQLCluster) *v1alpha1.Restore {
	if cluster.Status.Record != nil {
		return nil
	}
	return cluster.Spec.Restore
}

// restoreDuty is the agent's part of a restore.
func restoreDuty(restore *v1alpha1.Restore) (string, error) {
	duty := instance.RestoreDuty{Store: Store(&restore.Target), Cluster: restore.ClusterUID, Verify: restore.Verify}
	if to := restore.To; to != nil {
		duty.Through, duty.Before = to.GTID, to.BeforeGTID
		if to.Time != nil {
			// All of that second.
			until := to.Time.UTC().Truncate(time.Second).Add(time.Second - time.Nanosecond)
			duty.Time = &until
		}
	}
	raw, err := json.Marshal(duty)
	if err != nil {
		return "", fmt.Errorf("encode what is restored: %w", err)
	}
	// The kubelet expands $(NAME) in arguments, and $$ is how a dollar is written.
	return strings.ReplaceAll(string(raw), "$", "$$"), nil
}

// addBackup gives a pod what the backups of its cluster need.
func addBackup(pod *corev1ac.PodSpecApplyConfiguration, server *corev1ac.ContainerApplyConfiguration, cluster *v1alpha1.MySQLCluster) {
	if target := backupTarget(cluster); target != nil {
		addTarget(pod, server, *target, place{backupVolume, backupFolder, backupCredentialsVolume, backupCredentials, false})
	}
}

// addRestore gives a pod what the restore that its cluster begins with needs.
func addRestore(pod *corev1ac.PodSpecApplyConfiguration, server *corev1ac.ContainerApplyConfiguration, cluster *v1alpha1.MySQLCluster) error {
	restore := toRestore(cluster)
	if restore == nil {
		return nil
	}
	duty, err := restoreDuty(restore)
	if err != nil {
		return err
	}
	server.WithCommand("--restore=" + duty)
	addTarget(pod, server, restore.Target, place{restoreVolume, restoreFolder, restoreCredentialsVolume, restoreCredentials, true})
	if ref := restore.Identity; ref != nil {
		addSecret(pod, server, restoreIdentityVolume, restoreIdentity, ref.Name)
	}
	return nil
}

// place is where a pod has a target.
type place struct {
	volume, folder, credentialsVolume, credentials string
	readOnly                                       bool
}

func addTarget(pod *corev1ac.PodSpecApplyConfiguration, server *corev1ac.ContainerApplyConfiguration, target v1alpha1.BackupTarget, at place) {
	switch {
	case target.S3 != nil:
		addSecret(pod, server, at.credentialsVolume, at.credentials, target.S3.Credentials.Name)
	case target.Volume != nil:
		pod.WithVolumes(corev1ac.Volume().WithName(at.volume).
			WithPersistentVolumeClaim(corev1ac.PersistentVolumeClaimVolumeSource().WithClaimName(target.Volume.ClaimName)))
		server.WithVolumeMounts(mount(at.volume, at.folder, at.readOnly))
	}
}

// addSecret mounts a Secret. It is optional: a database does not wait for what its backups need, and one that comes later is mounted then.
func addSecret(pod *corev1ac.PodSpecApplyConfiguration, server *corev1ac.ContainerApplyConfiguration, volume, folder, secret string) {
	pod.WithVolumes(corev1ac.Volume().WithName(volume).
		WithSecret(corev1ac.SecretVolumeSource().WithSecretName(secret).WithOptional(true).WithDefaultMode(0o440)))
	server.WithVolumeMounts(mount(volume, folder, true))
}

// mounted is what of a cluster's backups its pods are made of: another one has to make them anew.
func mounted(cluster *v1alpha1.MySQLCluster) *string {
	target := backupTarget(cluster)
	if target == nil {
		return nil
	}
	name := ""
	switch {
	case target.S3 != nil:
		name = "secret/" + target.S3.Credentials.Name
	case target.Volume != nil:
		name = "claim/" + target.Volume.ClaimName
	}
	return &name
}
