package app

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/seed-1972b8eb/signet/internal/web"
)

// drainTime is how long requests under way have after SIGTERM. Container platforms kill after 30 s.
const drainTime = 15 * time.Second

// certificateEvery is how often the certificate's files are looked at.
const certificateEvery = 10 * time.Second

// Run serves until ctx ends, then drains: /readyz says no at once, requests under way are answered, and what was counted is
// written. ready is called when every listener accepts. public may be nil; see listen.
func (a *App) Run(ctx context.Context, public net.Listener, ready func()) error {
	l, err := a.listen(ctx, public)
	if err != nil {
		return err
	}
	if l.admin != nil {
		a.adminAddress = l.admin.Addr().String()
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var loops sync.WaitGroup
	loops.Go(func() { a.background(background) })

	serving, cancel := context.WithCancel(ctx)
	defer cancel()
	var servers sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	serve := func(listener net.Listener, handler http.Handler, certificate *web.Certificate, drain time.Duration) {
		server := web.NewServer(web.ServerConfig{Handler: handler, Certificate: certificate, Log: a.log})
		servers.Go(func() {
			if err := web.Serve(serving, server, listener, drain); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
			cancel() // one that ends ends all
		})
	}
	serve(l.public, a.public, a.certificate, drainTime)
	serve(l.local, a.local, nil, drainTime)
	if l.admin != nil {
		serve(l.admin, a.tcp, a.adminCertificate(), time.Second)
	}
	if a.certificate != nil {
		loops.Go(func() { a.certificate.Watch(background, certificateEvery, a.log) })
	}
	ready()

	servers.Wait()
	stop() // after the last answer, so that it is counted
	loops.Wait()
	return errors.Join(errs...)
}

// AdminAddress is where the admin listener is: host:port with the port that it got. Empty where there is none, and before Run
// has called ready.
func (a *App) AdminAddress() string { return a.adminAddress }

// adminCertificate is the certificate of the admin listener, where that is reachable from elsewhere.
func (a *App) adminCertificate() *web.Certificate {
	if a.cfg.AdminTLS() {
		return a.certificate
	}
	return nil
}

// Close gives back everything that New opened. It is safe after a failed New.
func (a *App) Close() error {
	var errs []error
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	errs = append(errs, a.tracing.Close(ctx))
	if a.redis != nil {
		errs = append(errs, a.redis.Close())
	}
	if a.db != nil {
		errs = append(errs, a.db.Close())
	}
	if a.lock != nil {
		errs = append(errs, a.lock.release())
	}
	return errors.Join(errs...)
}
