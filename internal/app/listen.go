package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/seed-1972b8eb/signet/internal/config"
	"github.com/seed-1972b8eb/signet/internal/web"
)

// adminConns bounds the connections of the admin listener.
const adminConns = 256

// listeners are the sockets of a server, opened together so that a taken port is found before anything is served.
type listeners struct {
	public, admin, local net.Listener
}

// ListenPublic opens the public listener alone, for a server whose issuer follows from the port that it gets.
func ListenPublic(ctx context.Context, c *config.Config) (net.Listener, error) {
	l, err := web.Listen(ctx, "tcp", c.Listen.Public, c.Limits.MaxConnections)
	if err != nil {
		return nil, fmt.Errorf("open the public listener: %w", err)
	}
	return l, nil
}

// listen opens the sockets of the configuration; public may be open already.
func (a *App) listen(ctx context.Context, public net.Listener) (listeners, error) {
	l := listeners{public: public}
	if err := l.open(ctx, a.cfg); err != nil {
		return listeners{}, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *listeners) open(ctx context.Context, c *config.Config) error {
	var err error
	if l.public == nil {
		if l.public, err = ListenPublic(ctx, c); err != nil {
			return err
		}
	}
	if c.Listen.Admin != "" {
		if l.admin, err = web.Listen(ctx, "tcp", c.Listen.Admin, adminConns); err != nil {
			return fmt.Errorf("open the admin listener: %w", err)
		}
	}
	if l.local, err = listenLocal(ctx, c.Listen.AdminSocket); err != nil {
		return fmt.Errorf("open the admin socket: %w", err)
	}
	return nil
}

// listenLocal opens the Unix socket, mode 0600. One that a crash left behind is replaced: the lock on the data directory
// says that nobody serves it. The umask closes the moment between the creation and a chmod.
func listenLocal(ctx context.Context, path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	old := syscall.Umask(0o177)
	defer syscall.Umask(old)
	var lc net.ListenConfig
	return lc.Listen(ctx, "unix", path)
}

func (l listeners) close() error {
	var errs []error
	for _, listener := range []net.Listener{l.public, l.admin, l.local} {
		if listener != nil {
			if err := listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
