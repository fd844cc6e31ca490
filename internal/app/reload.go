package app

import (
	"context"
	"log/slog"
	"reflect"
	"strings"

	"github.com/seed-1972b8eb/signet/internal/config"
)

// Reload takes over what can change while the server runs: the certificate's files are read again, and the caller sets the
// log level. Options that need a restart are named in the log. On error nothing has changed.
func (a *App) Reload(ctx context.Context, next *config.Config) error {
	if a.certificate != nil {
		if err := a.certificate.Reload(); err != nil {
			return err
		}
	}
	running, asked := *a.cfg, *next
	running.Log.Level = asked.Log.Level
	if changed := changedSections(running, asked); len(changed) > 0 {
		a.log.WarnContext(ctx, "changed options take effect at the next start", slog.String("sections", strings.Join(changed, " ")))
	}
	return nil
}

// changedSections names the top-level options that differ.
func changedSections(a, b config.Config) []string {
	var names []string
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range x.NumField() {
		if !reflect.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
			names = append(names, x.Type().Field(i).Tag.Get("koanf"))
		}
	}
	return names
}
