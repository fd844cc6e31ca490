package app

import (
	"net/http"

	"github.com/seed-1972b8eb/signet/internal/keys"
	"github.com/seed-1972b8eb/signet/internal/sqlstore"
)

// Public is the handler of the public listener, as New has wired it.
func (a *App) Public() http.Handler { return a.public }

// TCP is the handler of the admin listener.
func (a *App) TCP() http.Handler { return a.tcp }

// Keys changes the signing keys, as the admin API does.
func (a *App) Keys() *keys.Manager { return a.keys }

// Database is the open database, for a test that takes it away.
func (a *App) Database() *sqlstore.DB { return a.db }
