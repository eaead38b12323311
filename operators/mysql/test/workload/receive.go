package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// maxNotification is how many bytes of a notification are kept, far more than a robot takes.
const maxNotification = 1 << 20

// notification is one request that somebody sent.
type notification struct {
	Path string    `json:"path"`
	At   time.Time `json:"at"`
	Body string    `json:"body"`
}

// receiver keeps every notification that it is sent, and answers as a WeCom robot does when it is content.
type receiver struct {
	mu   sync.Mutex
	seen []notification
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		r.mu.Lock()
		defer r.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		// Whoever asks has gone if this fails.
		_ = json.NewEncoder(w).Encode(append([]notification{}, r.seen...))
		return
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, maxNotification))
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	r.seen = append(r.seen, notification{Path: req.URL.Path, At: time.Now(), Body: string(body)})
	r.mu.Unlock()
	_, _ = io.WriteString(w, `{"errcode":0,"errmsg":"ok"}`)
}

// receiveCommand keeps what is POSTed to it and gives it to whoever GETs.
func receiveCommand(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("receive", flag.ContinueOnError)
	listen := flags.String("listen", ":8080", "host:port to listen on")
	if err := flags.Parse(args); err != nil {
		return err
	}
	server := &http.Server{Addr: *listen, Handler: &receiver{}, ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return fmt.Errorf("receive notifications: %w", err)
	case <-ctx.Done():
	}
	if err := server.Close(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("stop receiving: %w", err)
	}
	return nil
}
