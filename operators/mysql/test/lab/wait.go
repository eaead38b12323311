package lab

import (
	"context"
	"fmt"
	"time"
)

// pollInterval is how often a wait looks again.
const pollInterval = 200 * time.Millisecond

// Check looks once: done ends the wait well, the text says what is seen, an error ends the wait badly.
type Check func(ctx context.Context) (done bool, seen string, err error)

// NotYet ends a look that failed: whatever is waited for may be what makes it fail.
func NotYet(err error) (done bool, seen string, failed error) { return false, err.Error(), nil }

// Wait looks until the check is done, for at most the timeout. What was seen is logged whenever it changes, and is part of
// the error.
func (l *Lab) Wait(ctx context.Context, timeout time.Duration, what string, check Check) error {
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	last := ""
	for {
		done, seen, err := check(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			return fmt.Errorf("wait for %s: %w", what, err)
		case done:
			return nil
		case err == nil && seen != last && seen != "":
			l.Log("  %s: %s", what, seen)
			last = seen
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: not within %s; last seen: %s", what, time.Since(started).Round(time.Second), last)
		case <-time.After(pollInterval):
		}
	}
}
