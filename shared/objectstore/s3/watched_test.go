package s3

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// TestAConnectionFailsWhenItStandsStillAndNotBefore sends for ten minutes while an answer is awaited, and then waits.
func TestAConnectionFailsWhenItStandsStillAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		conn := &watched{Conn: near, silence: time.Minute}
		defer func() {
			if err := errors.Join(conn.Close(), far.Close()); err != nil {
				t.Error(err)
			}
		}()
		began := time.Now()
		ended := make(chan time.Duration, 1)
		go func() {
			_, err := conn.Read(make([]byte, 1))
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("read: %v", err)
			}
			ended <- time.Since(began)
		}()
		for range 10 {
			synctest.Wait()
			go func() { _, _ = far.Read(make([]byte, 1)) }()
			if _, err := conn.Write([]byte{1}); err != nil {
				t.Errorf("write: %v", err)
			}
			time.Sleep(59 * time.Second)
		}
		if took := <-ended; took != 9*59*time.Second+time.Minute {
			t.Errorf("the answer was awaited for %s", took)
		}
		if _, err := conn.Write([]byte{1}); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write to whom takes nothing: %v", err)
		}
		if took := time.Since(began); took != 9*59*time.Second+2*time.Minute {
			t.Errorf("it failed after %s", took)
		}
	})
}
