//go:build !linux

package web

import (
	"errors"
	"net"
	"time"
)

// refuseNew would keep new connections out of the queue; without it, one that comes in the instant before the close is reset.
func refuseNew(net.Listener) error { return errors.ErrUnsupported }

// patience is how long Accept should wait for the next connection of the queue, which cannot be looked at.
func patience(net.Listener) time.Duration { return quiet }
