package web

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// refuseNew makes the kernel drop the packets that would open a connection to the listener: a TCP header with SYN and
// without ACK. A filter is the only way to stop the queue from growing that leaves alone what is in it; it needs no privilege.
func refuseNew(l net.Listener) error {
	if l.Addr().Network() != "tcp" {
		return errors.ErrUnsupported
	}
	const (
		flags    = 13 // the byte of the header (RFC 9293 §3.1)
		syn, ack = 0x02, 0x10
		drop     = 0
		keep     = 1<<31 - 1 // bytes of the packet at most: all
	)
	return control(l, func(fd int) error {
		//nolint:staticcheck // golang.org/x/net/bpf would be one more dependency for five instructions that never change
		return syscall.AttachLsf(fd, []syscall.SockFilter{
			{Code: syscall.BPF_LD | syscall.BPF_B | syscall.BPF_ABS, K: flags},
			{Code: syscall.BPF_ALU | syscall.BPF_AND | syscall.BPF_K, K: syn | ack},
			{Code: syscall.BPF_JMP | syscall.BPF_JEQ | syscall.BPF_K, K: syn, Jt: 0, Jf: 1},
			{Code: syscall.BPF_RET | syscall.BPF_K, K: drop},
			{Code: syscall.BPF_RET | syscall.BPF_K, K: keep},
		})
	})
}

// patience is how long Accept should wait for the next connection of the queue: not at all when there is none.
func patience(l net.Listener) time.Duration {
	waiting := 0
	err := control(l, func(fd int) error {
		poll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
		if err != nil {
			return err
		}
		defer func() { _ = syscall.Close(poll) }()
		event := syscall.EpollEvent{Events: syscall.EPOLLIN}
		if err := syscall.EpollCtl(poll, syscall.EPOLL_CTL_ADD, fd, &event); err != nil {
			return err
		}
		waiting, err = syscall.EpollWait(poll, []syscall.EpollEvent{event}, 0)
		return err
	})
	switch {
	case err != nil:
		return quiet
	case waiting > 0:
		return maxStall
	default:
		return 0
	}
}

// control calls f with the listener's descriptor.
func control(l net.Listener, f func(fd int) error) error {
	c, ok := l.(syscall.Conn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}
