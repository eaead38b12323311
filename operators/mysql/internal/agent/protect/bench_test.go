package protect

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
	"github.com/kapok-operators/kapok/operators/mysql/internal/testkit/servers"
	"github.com/kapok-operators/kapok/shared/objectstore"
	"github.com/kapok-operators/kapok/shared/objectstore/folder"
)

// BenchmarkArchiveExposure keeps the archive of a real server in a folder, at the usual pace, while a client commits about every five milliseconds for
// a minute a round, and says how exposed the writes were whenever one looked.
func BenchmarkArchiveExposure(b *testing.B) {
	program := servers.Program(b, os.Getenv("KAPOK_MYSQLD"))
	s := servers.Run(b, program, servers.Blank(b, program))
	s.Do("SET sql_log_bin = 0", "CREATE USER kapok_admin@localhost IDENTIFIED BY 'secret'", "GRANT ALL ON *.* TO kapok_admin@localhost WITH GRANT OPTION",
		"SET sql_log_bin = 1", "CREATE DATABASE shop", "CREATE TABLE shop.t (a BIGINT PRIMARY KEY AUTO_INCREMENT, b VARCHAR(200))")
	client, err := mysqld.Dial(s.Socket, "secret")
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	to := b.TempDir()
	k := New(Options{
		Instance: "shop-0", DataDir: s.Dir, CopyDir: filepath.Join(filepath.Dir(s.Dir), "copy"), Logger: slog.New(slog.DiscardHandler),
		Open: func(instance.Store) (objectstore.Store, func() error, error) {
			store, err := folder.Open(to)
			if err != nil {
				return nil, nil, err
			}
			return store, store.Close, nil
		},
	})
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	k.Tell(Situation{Told: true, Serving: true, Epoch: 1, Server: client, Duty: &instance.BackupDuty{
		Store: instance.Store{Volume: true}, Cluster: "bench", Archive: &instance.ArchiveDuty{KeepDays: 7},
	}})
	var seen []time.Duration
	for b.Loop() {
		for begun := time.Now(); time.Since(begun) < time.Minute; {
			s.Do("INSERT INTO shop.t (b) VALUES (REPEAT('x', 200))")
			time.Sleep(5 * time.Millisecond)
			if m := k.Metrics(); m.Exposed {
				seen = append(seen, m.Exposure)
			}
		}
	}
	cancel()
	<-ended
	if len(seen) == 0 {
		b.Fatal("nobody has said how exposed the writes were")
	}
	slices.Sort(seen)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(seen[len(seen)/2].Seconds(), "p50-s")
	b.ReportMetric(seen[len(seen)*99/100].Seconds(), "p99-s")
	b.ReportMetric(seen[len(seen)-1].Seconds(), "max-s")
}
