package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// answerTime bounds one exchange.
const answerTime = 30 * time.Second

// Conn is one keep-alive connection to an HTTP server. It sends requests that were made before, and reads no more of an
// answer than it has to, so that the driver takes little of the CPU that the server needs. Not safe for concurrent use.
type Conn struct {
	conn net.Conn
	read *bufio.Reader
	body []byte
}

// Dial connects to host:port.
func Dial(ctx context.Context, address string) (*Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	return &Conn{conn: conn, read: bufio.NewReaderSize(conn, 8<<10)}, nil
}

// Do sends a request and returns status and body of the answer, which must have a Content-Length. The body is good until
// the next call.
func (c *Conn) Do(request []byte) (int, []byte, error) {
	if err := c.conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return 0, nil, fmt.Errorf("set the deadline: %w", err)
	}
	if _, err := c.conn.Write(request); err != nil {
		return 0, nil, fmt.Errorf("send: %w", err)
	}
	status, length, err := c.head()
	if err != nil {
		return 0, nil, err
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	c.body = c.body[:length]
	if _, err := io.ReadFull(c.read, c.body); err != nil {
		return 0, nil, fmt.Errorf("read the answer: %w", err)
	}
	return status, c.body, nil
}

// head reads status line and header, and returns status and Content-Length.
func (c *Conn) head() (int, int, error) {
	line, err := c.line()
	if err != nil {
		return 0, 0, err
	}
	if len(line) < len("HTTP/1.1 200") || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, 0, fmt.Errorf("no HTTP answer: %q", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, 0, fmt.Errorf("no HTTP answer: %q", line)
	}
	length := -1
	for {
		if line, err = c.line(); err != nil {
			return 0, 0, err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, 0, fmt.Errorf("bad Content-Length %q", value)
			}
		}
	}
	if length < 0 {
		return 0, 0, fmt.Errorf("answer %d has no Content-Length", status)
	}
	return status, length, nil
}

func (c *Conn) line() ([]byte, error) {
	line, err := c.read.ReadSlice('\n')
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

// Close ends the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// Post makes a request of a form, with HTTP Basic credentials.
func Post(host, path, user, password, form string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAuthorization: Basic %s\r\n", path, host, basic(user, password))
	fmt.Fprintf(&b, "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(form), form)
	return []byte(b.String())
}
