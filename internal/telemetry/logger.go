package telemetry

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// Format is the form of log lines.
type Format string

// The formats. Text is for people, in colour where the output is a terminal; Plain never has colour (NO_COLOR).
const (
	FormatJSON  Format = "json"
	FormatText  Format = "text"
	FormatPlain Format = "plain"
)

// NewLogger returns a logger that redacts (see Redact). Any format but FormatText and FormatPlain is JSON.
func NewLogger(format Format, level slog.Leveler, w io.Writer) *slog.Logger {
	if format == FormatText || format == FormatPlain {
		return slog.New(tint.NewTextHandler(w, &tint.Options{
			Level:       level,
			ReplaceAttr: redactAttr,
			TimeFormat:  time.TimeOnly,
			NoColor:     format == FormatPlain || !terminal(w),
		}))
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: redactAttr}))
}

func terminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
