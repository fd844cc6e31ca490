package app

import "net/http"

// Public is the handler of the public listener, as New has wired it.
func (a *App) Public() http.Handler { return a.public }
