package main

import (
	"context"
	"fmt"
	"time"
)

// shardPart is how fast a number of changed objects was worked off by so many shards.
type shardPart struct {
	Shards int `json:"shards"`
	// WaitMs is how long each reconcile of a changed object waits, as for the answer of something outside.
	WaitMs    float64 `json:"waitMs"`
	Changed   int     `json:"changed"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"perSecond"`
	// Most is how many of them the shard with the most had.
	Most int `json:"mostOfOneShard"`
	// HeapInUse and Resident are of each process when it had all objects in its cache and had reconciled its own.
	HeapInUse []uint64 `json:"heapInUseBytes"`
	Resident  []uint64 `json:"rssBytes"`
}

// shards works off the same backlog with one process and with three, first with a wait in each reconcile and then without.
// The processes have the machine together: without a wait there is no more of it for three than for one.
func (b *bench) shards(ctx context.Context) error {
	for _, setting := range []struct {
		wait    time.Duration
		changed int
	}{{b.shardWait, min(b.shardObjects, b.objects)}, {0, min(2*b.shardObjects, b.objects)}} {
		for _, count := range []int{1, 3} {
			part, err := b.backlog(ctx, count, setting.wait, setting.changed)
			if err != nil {
				return fmt.Errorf("%d shards that wait %s: %w", count, setting.wait, err)
			}
			b.report.Shards = append(b.report.Shards, part)
			b.say("%d shards, waiting %s: %.1f objects in a second", count, setting.wait, part.PerSecond)
			if err := b.save(b.report); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) backlog(ctx context.Context, count int, wait time.Duration, changed int) (shardPart, error) {
	part := shardPart{Shards: count, WaitMs: float64(wait) / 1e6, Changed: changed}
	var members []*replica
	defer func() {
		for _, m := range members {
			m.stop()
		}
	}()
	for i := range count {
		m, err := startReplica(ctx, b.server.kubeconfig, fmt.Sprint("-shards=", count), fmt.Sprint("-shard=", i), fmt.Sprint("-wait=", wait))
		if err != nil {
			return part, err
		}
		members = append(members, m)
	}
	// All objects have been looked at once, so that nothing but the backlog is left to do.
	if _, err := total(ctx, members, func(f figures) int { return f.Objects }, b.objects); err != nil {
		return part, err
	}
	for _, m := range members {
		f, err := m.figures(ctx, "?collect")
		if err != nil {
			return part, err
		}
		part.HeapInUse, part.Resident = append(part.HeapInUse, f.HeapInUse), append(part.Resident, f.Resident)
		for _, path := range []string{"/reset", "/hold"} {
			if err := m.post(ctx, path); err != nil {
				return part, err
			}
		}
	}
	value := fmt.Sprintf("backlog-%d-%s", count, wait)
	if err := b.first(ctx, changed, func(ctx context.Context, i int) error { return b.change(ctx, i, value) }); err != nil {
		return part, fmt.Errorf("change the objects: %w", err)
	}
	began := time.Now()
	for _, m := range members {
		if err := m.post(ctx, "/release"); err != nil {
			return part, err
		}
	}
	most, err := total(ctx, members, func(f figures) int { return f.Finished }, changed)
	if err != nil {
		return part, err
	}
	part.Seconds, part.Most = time.Since(began).Seconds(), most
	part.PerSecond = float64(changed) / part.Seconds
	return part, nil
}

// total waits until all processes together have counted so many, and returns what the one with the most has.
func total(ctx context.Context, members []*replica, count func(figures) int, want int) (most int, err error) {
	err = until(ctx, 100*time.Millisecond, func() (bool, error) {
		sum := 0
		most = 0
		for _, m := range members {
			f, err := m.figures(ctx, "")
			if err != nil {
				return false, nil //nolint:nilerr // It may not serve yet; until has a limit.
			}
			sum += count(f)
			most = max(most, count(f))
		}
		if sum > want {
			return false, fmt.Errorf("%d objects were reconciled by %d shards: some by more than one", want, len(members))
		}
		return sum == want, nil
	})
	return most, err
}
