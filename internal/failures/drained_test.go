package failures

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-1972b8eb/signet/internal/servertest"
	"github.com/seed-1972b8eb/signet/internal/servertest/pgtest"
)

// TestDrain restarts two replicas one after the other while clients ask for tokens without a pause. "No request dropped" is
// meant as strictly as it can be defined: the clients keep connections alive, never send a request twice, and reach the
// replicas through a balancer that knows nothing but /readyz. Whatever is not a token counts as dropped, and so does every
// error of the network: a refused or reset connection, or one that ends between the request and its answer.
func TestDrain(t *testing.T) {
	t.Parallel()
	postgres := pgtest.Start(t)
	a := serve(t, servertest.Config{Database: postgres.URL()})
	b := replica(t, a, servertest.Config{})
	c := a.client(t)
	balancer := &balancer{replicas: []*server{a, b}}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 3 {
		tasks.Go(func() {
			for ctx.Err() == nil {
				if err := balancer.converse(ctx, c); err != nil {
					t.Errorf("dropped: %v", err)
					return
				}
			}
		})
	}
	busy := func() {
		before := balancer.served.Load()
		eventually(t, 20*time.Second, "serve", func() bool { return balancer.served.Load() > before+50 || t.Failed() })
	}
	for _, s := range balancer.replicas {
		busy()
		began, before := time.Now(), balancer.served.Load()
		if err := s.Stop(); err != nil {
			t.Errorf("a replica ended with %v\n%s", err, s.Log())
		}
		t.Logf("drained in %v, %d requests meanwhile", time.Since(began).Round(time.Millisecond), balancer.served.Load()-before)
		busy()
		s.Again(t)
	}
	busy()
	cancel()
	tasks.Wait()
	t.Logf("%d requests over %d connections", balancer.served.Load(), balancer.dialled.Load())
}

// TestDrainSaysNotReady: SIGTERM is seen at /readyz at once, while requests are still taken.
func TestDrainSaysNotReady(t *testing.T) {
	t.Parallel()
	s := serve(t, servertest.Config{})
	c := s.client(t)
	s.token(t, c)
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- s.Stop() }()
	eventually(t, time.Second, "say that it is not ready", func() bool {
		a := s.get(pathReady)
		return a.err == nil && a.status == http.StatusServiceUnavailable && member[string](a.body, "status") == "draining"
	})
	t.Logf("/readyz says no %v after SIGTERM", time.Since(began).Round(time.Millisecond))
	if a := s.request(c); !a.ok() || !a.ends {
		t.Errorf("a request just after SIGTERM: %d, ends the connection %t (%v); want a token and the end", a.status, a.ends, a.err)
	}
	if a := s.get(pathLive); !a.ok() {
		t.Errorf("livez: %d (%v); a restart would mend nothing", a.status, a.err)
	}
	if err := <-ended; err != nil {
		t.Errorf("signet ended with %v", err)
	}
	if s.get(pathLive).err == nil {
		t.Error("something still answers")
	}
}

// balancer sends connections to replicas that say they are ready, in turn.
type balancer struct {
	replicas []*server
	next     atomic.Int64
	dialled  atomic.Int64 // connections
	served   atomic.Int64 // requests
}

func (b *balancer) dial() (net.Conn, error) {
	b.dialled.Add(1)
	first := int(b.next.Add(1))
	for i := range b.replicas {
		s := b.replicas[(first+i)%len(b.replicas)]
		if s.get(pathReady).ok() {
			conn, err := net.DialTimeout("tcp", s.Address, 5*time.Second)
			if err != nil {
				return nil, fmt.Errorf("connect to a replica that was ready: %w", err)
			}
			return conn, nil
		}
	}
	return nil, errors.New("no replica is ready")
}

// converse opens one connection and sends requests over it until the server says that it ends, or ctx does.
func (b *balancer) converse(ctx context.Context, c client) error {
	conn, err := b.dial()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	reader := bufio.NewReader(conn)
	for n := 1; ctx.Err() == nil; n++ {
		ends, err := ask(conn, reader, c)
		if err != nil {
			return fmt.Errorf("request %d of a connection: %w", n, err)
		}
		b.served.Add(1)
		if ends {
			return nil
		}
	}
	return nil
}

// ask sends one request, and says whether the answer ends the connection.
func ask(conn net.Conn, reader *bufio.Reader, c client) (bool, error) {
	body := servertest.Form("grant_type", "client_credentials").Encode()
	request, err := http.NewRequest(http.MethodPost, "http://replica"+pathToken, strings.NewReader(body))
	if err != nil {
		return false, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(c.id, c.secret)
	if err := errors.Join(conn.SetDeadline(time.Now().Add(20*time.Second)), request.Write(conn)); err != nil {
		return false, err
	}
	response, err := http.ReadResponse(reader, request)
	if err != nil {
		return false, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || member[string](string(text), "access_token") == "" {
		return false, fmt.Errorf("answer %d %s (%w)", response.StatusCode, text, err)
	}
	return response.Close, nil
}
