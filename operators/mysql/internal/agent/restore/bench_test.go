package restore_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/full"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/restore"
	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/sandbox"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/servers"
	"github.com/kapok-operators/kapok/shared/agent"
	"github.com/kapok-operators/kapok/shared/objectstore"
	"github.com/kapok-operators/kapok/shared/objectstore/folder"
)

// benchmarked is how much data the benchmark backs up: KAPOK_BENCH_MIB, a gibibyte by default.
func benchmarked(b *testing.B) int {
	b.Helper()
	text := os.Getenv("KAPOK_BENCH_MIB")
	if text == "" {
		return 1024
	}
	mib, err := strconv.Atoi(text)
	if err != nil {
		b.Fatal(err)
	}
	return mib
}

// grow fills a table with so much: rows of which about half can be compressed away.
func grow(s *servers.Server, mib int) {
	s.Do("SET sql_log_bin = 0", "CREATE USER kapok_admin@localhost IDENTIFIED BY 'secret'", "GRANT ALL ON *.* TO kapok_admin@localhost WITH GRANT OPTION",
		"CREATE DATABASE shop", "CREATE TABLE shop.t (a BIGINT PRIMARY KEY AUTO_INCREMENT, b VARBINARY(2000)) CHARACTER SET binary",
		"INSERT INTO shop.t (b) VALUES (CONCAT(RANDOM_BYTES(500), REPEAT('x', 500)))")
	// Each doubles the rows, of a kibibyte each.
	for rows := 1; rows < mib<<10; rows *= 2 {
		s.Do(fmt.Sprintf("INSERT INTO shop.t (b) SELECT CONCAT(RANDOM_BYTES(500), REPEAT('x', 500)) FROM shop.t LIMIT %d", min(rows, mib<<10-rows)))
	}
	s.Do("SET sql_log_bin = 1")
}

// copied is how long cp takes for the files, to a folder on the same disk, until they are on it.
func copied(b *testing.B, dir string) time.Duration {
	b.Helper()
	to := filepath.Join(servers.Folder(b), "copy")
	begun := time.Now()
	if out, err := exec.CommandContext(b.Context(), "cp", "-r", dir, to).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.CommandContext(b.Context(), "sync", "-f", to).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	took := time.Since(begun)
	if err := os.RemoveAll(to); err != nil {
		b.Fatal(err)
	}
	return took
}

// BenchmarkBackupAndRestore takes full backups of a server to a folder, restores them until a server answers, and compares both with cp of the same
// files; and then once more with a proof of the copy, and with what is restored verified. What it prints are the medians.
func BenchmarkBackupAndRestore(b *testing.B) {
	program := servers.Program(b, os.Getenv("KAPOK_MYSQLD"))
	mib := benchmarked(b)
	s := servers.Run(b, program, servers.Blank(b, program), "--innodb-redo-log-capacity=1G", "--innodb-buffer-pool-size=512M")
	grow(s, mib)
	client, err := mysqld.Dial(s.Socket, "secret")
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	var cps, fulls, restores, proven, verified []time.Duration
	var stored int64
	for b.Loop() {
		cps = append(cps, copied(b, s.Dir))
		dir := servers.Folder(b)
		store, err := folder.Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		begun := time.Now()
		o := full.Options{
			Store: store, Cluster: "plain", Name: "full", Instance: "shop-0", Server: client, DataDir: s.Dir, CopyDir: filepath.Join(filepath.Dir(s.Dir), "copy"),
		}
		backup, err := full.Take(b.Context(), o)
		if err != nil {
			b.Fatal(err)
		}
		fulls = append(fulls, time.Since(begun))
		begun = time.Now()
		o.Cluster, o.Prove = "proven", &sandbox.Options{Mysqld: program, RunDir: servers.Folder(b), Supervisor: &agent.Supervisor{}}
		if _, err := full.Take(b.Context(), o); err != nil {
			b.Fatal(err)
		}
		proven = append(proven, time.Since(begun))
		stored = 0
		for _, p := range backup.Parts {
			stored += p.Size
		}
		restores = append(restores, brought(b, program, store, "plain", false))
		verified = append(verified, brought(b, program, store, "proven", true))
		if err := errors.Join(os.RemoveAll(dir), store.Close()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(cps), "cp-s")
	b.ReportMetric(median(fulls), "full-s")
	b.ReportMetric(median(restores), "restore-s")
	b.ReportMetric(median(fulls)/median(cps), "full/cp")
	b.ReportMetric(median(restores)/median(cps), "restore/cp")
	b.ReportMetric(median(proven)/median(fulls), "proven/full")
	b.ReportMetric(median(verified)/median(restores), "verified/restore")
	b.ReportMetric(float64(stored)/float64(mib<<20), "stored/data")
}

// brought is how long it takes to restore a backup until a server answers.
func brought(b *testing.B, program string, store objectstore.Store, cluster string, verify bool) time.Duration {
	b.Helper()
	data := filepath.Join(servers.Folder(b), "data")
	begun := time.Now()
	result, err := restore.Run(b.Context(), restore.Options{
		Store: store, Cluster: cluster, DataDir: data, Mysqld: program, RunDir: servers.Folder(b), PoolBytes: 512 << 20, Supervisor: &agent.Supervisor{}, Verify: verify,
	})
	if err != nil || verify && result.Compared == 0 {
		b.Fatalf("%+v, %v", result, err)
	}
	restored := servers.Run(b, program, data)
	restored.Do("INSERT INTO shop.t (b) VALUES ('writable')")
	took := time.Since(begun)
	restored.Stop()
	if err := os.RemoveAll(data); err != nil {
		b.Fatal(err)
	}
	return took
}

// median returns the middle one, in seconds.
func median(all []time.Duration) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2].Seconds()
}
