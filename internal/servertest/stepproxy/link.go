package stepproxy

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
)

// requests reads what a client sends to its store.
type requests interface {
	// next returns the bytes up to the next moment at which the client may wait for an answer, and the request that they are;
	// empty where they ask the store to do nothing.
	next() ([]byte, string, error)
}

// link is one connection through the proxy.
type link struct {
	proxy         *Proxy
	client, store *net.TCPConn
	strike        atomic.Pointer[func()] // what to do in place of handing the next answer over
	asked         atomic.Bool            // the store has yet to answer a request that counts
	path          []string               // requests of the running transaction
}

// carry connects a client to the store until either side ends.
func (p *Proxy) carry(client *net.TCPConn, upstream *net.TCPAddr, from requests) {
	defer p.drop(client)
	if !p.keep(client) {
		return
	}
	store, err := net.DialTCP("tcp", nil, upstream)
	if err != nil {
		return
	}
	defer p.drop(store)
	if !p.keep(store) {
		return
	}
	l := &link{proxy: p, client: client, store: store}
	var answers sync.WaitGroup
	answers.Go(l.answer)
	l.ask(from)
	_ = store.CloseWrite() // as the kernel does for a process that is killed: what it has sent is done
	answers.Wait()
	l.answered() // also where no answer has come
}

// ask hands requests over, each in one piece.
func (l *link) ask(from requests) {
	for {
		sent, request, err := from.next()
		if err != nil {
			return
		}
		if request != "" && !l.proxy.ignore(request) {
			if !l.proxy.deliver(l, l.place(request)) {
				return
			}
		}
		if _, err := l.store.Write(sent); err != nil {
			return
		}
	}
}

// answer hands answers over, until the store ends the connection: also when nobody hears them any more. The store that answers
// has done what it was asked; PostgreSQL answers a COMMIT when it is durable.
func (l *link) answer() {
	defer func() { _ = l.client.Close() }()
	buffer := make([]byte, 32<<10)
	for {
		n, err := l.store.Read(buffer)
		if l.answered() || err != nil {
			return
		}
		_, _ = l.client.Write(buffer[:n])
	}
}

// answered notes an answer, and says whether that was the moment to strike.
func (l *link) answered() bool {
	if l.asked.Swap(false) {
		l.proxy.asked.Done()
	}
	strike := l.strike.Load()
	if strike != nil {
		(*strike)()
	}
	return strike != nil
}

// place is a request after those before it in its transaction, a line each: each COMMIT is another step.
func (l *link) place(request string) string {
	word, _, _ := strings.Cut(strings.ToLower(request), " ")
	if word != "begin" && len(l.path) == 0 {
		return request
	}
	l.path = append(l.path, request)
	place := strings.Join(l.path, "\n")
	if word == "commit" || word == "rollback" {
		l.path = nil
	}
	return place
}
