package link

import (
	"io"
	"log/slog"

	"github.com/go-logr/logr"
)

func textLogger(w io.Writer) logr.Logger {
	return logr.FromSlogHandler(slog.NewTextHandler(w, nil))
}
