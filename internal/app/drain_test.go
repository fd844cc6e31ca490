package app_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestDrainCountsTheLastAnswer: what is issued while the server drains is written like everything before.
func TestDrainCountsTheLastAnswer(t *testing.T) { // not beside others: Run sets the umask, which is the whole process's, for a moment
	s := made(t)
	a, err := s.open(t)
	if err != nil {
		t.Fatal(err)
	}
	c := register(t, a, "nightly")
	public, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended, ready := make(chan error, 1), make(chan struct{})
	go func() { ended <- a.Run(ctx, public, func() { close(ready) }) }()
	<-ready

	// A request of which the last byte comes after the server was told to end, and has ended to listen.
	const form = "grant_type=client_credentials"
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", public.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "POST /oauth2/token HTTP/1.1\r\nHost: h\r\nAuthorization: Basic %s\r\nExpect: 100-continue\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n",
		base64.StdEncoding.EncodeToString([]byte(c.id+":"+c.secret)), len(form)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n"))); err != nil { // the handler reads the body
		t.Fatal(err)
	}
	stop()
	for deadline := time.Now().Add(10 * time.Second); ; {
		other, err := new(net.Dialer).DialContext(t.Context(), "tcp", public.Addr().String())
		if err != nil {
			break
		}
		_ = other.Close()
		if time.Now().After(deadline) {
			t.Fatal("still listens")
		}
	}
	if _, err := io.WriteString(conn, form); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 200 ") {
		t.Fatalf("%s (%v)", text, err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	found, err := s.opened(t).Clients.Find(t.Context(), c.id)
	if err != nil || found.LastUsedAt.IsZero() {
		t.Errorf("last used %v (%v); what was issued during the drain is not counted", found.LastUsedAt, err)
	}
}
