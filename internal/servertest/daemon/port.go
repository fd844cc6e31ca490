package daemon

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"syscall"
	"time"
)

// Ports are taken below the ephemeral range (32768 and up on Linux), so that no outgoing connection lands on the
// port of a server that is stopped for a moment.
const (
	firstPort = 15000
	lastPort  = 31999
)

// Port is a TCP port of 127.0.0.1 that no other Port, in any process of this machine, has at the same time, even
// while nothing listens on it.
type Port struct {
	number int
	claim  net.Listener
}

// ReservePort finds a free port. Processes that do not use this package may still take it, so callers retry with
// another one when their server cannot bind.
func ReservePort() (*Port, error) {
	for range 200 {
		port := &Port{number: firstPort + rand.IntN(lastPort-firstPort)} //nolint:gosec // no secret
		if err := port.reserve(); err != nil {
			continue
		}
		probe, err := net.Listen("tcp", port.Addr()) //nolint:noctx // immediate
		if err != nil {
			port.Release()
			continue
		}
		_ = probe.Close()
		return port, nil
	}
	return nil, errors.New("found no free port in 200 attempts")
}

// reserve binds an abstract Unix socket named after the port: only one process can, nothing is left on disk, and
// the kernel frees it when the process dies. Elsewhere than on Linux ports are unreserved.
func (p *Port) reserve() error {
	if runtime.GOOS != "linux" {
		return nil
	}
	claim, err := net.Listen("unix", fmt.Sprintf("@signet-test-port-%d", p.number)) //nolint:noctx // immediate
	if err != nil {
		return fmt.Errorf("reserve port: %w", err)
	}
	p.claim = claim
	return nil
}

// Listen listens on an address that this process listened on a moment ago. It tries for two seconds, because any
// process that was being started meanwhile holds a copy of the old socket until it has become its program.
func Listen(addr string) (net.Listener, error) {
	var listener net.Listener
	var err error
	waitUntil(2*time.Second, func() bool {
		listener, err = net.Listen("tcp", addr) //nolint:noctx // immediate
		return !errors.Is(err, syscall.EADDRINUSE)
	})
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return listener, nil
}

// Number returns the port number.
func (p *Port) Number() int { return p.number }

// Addr returns the port as 127.0.0.1:number.
func (p *Port) Addr() string { return fmt.Sprintf("127.0.0.1:%d", p.number) }

// Release gives the port back.
func (p *Port) Release() {
	if p.claim != nil {
		_ = p.claim.Close()
	}
}
