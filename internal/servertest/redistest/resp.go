package redistest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// client speaks as much of Redis's protocol as this package needs.
type client struct {
	conn   net.Conn
	reader *bufio.Reader
}

// errNil is the answer "no value".
var errNil = errors.New("redis: nil")

// dial connects to a redis:// URL and authenticates; it leaves the selection of a database to the caller.
func dial(server string) (*client, error) {
	parsed, err := url.Parse(server)
	if err != nil {
		return nil, fmt.Errorf("parse Redis URL: %w", err)
	}
	if parsed.Scheme != "redis" {
		return nil, fmt.Errorf("a Redis URL for tests begins with redis://, not %s://", parsed.Scheme)
	}
	addr := parsed.Host
	if parsed.Port() == "" {
		addr = net.JoinHostPort(parsed.Hostname(), "6379")
	}
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second) //nolint:noctx,gosec // has a timeout; the tester names the server
	if err != nil {
		return nil, fmt.Errorf("connect to Redis: %w", err)
	}
	c := &client{conn: conn, reader: bufio.NewReader(conn)}
	if password, ok := parsed.User.Password(); ok {
		auth := []string{"AUTH"}
		if name := parsed.User.Username(); name != "" {
			auth = append(auth, name)
		}
		if _, err := c.do(append(auth, password)...); err != nil {
			c.close()
			return nil, fmt.Errorf("authenticate to Redis: %w", err)
		}
	}
	return c, nil
}

// ping checks that the server takes commands; while it loads its data it does not.
func ping(server string) error {
	c, err := dial(server)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = c.do("PING")
	return err
}

func (c *client) close() { _ = c.conn.Close() }

// do sends one command and returns the answer as text; a list has a line for each element.
func (c *client) do(command ...string) (string, error) {
	if err := c.conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", fmt.Errorf("set deadline: %w", err)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "*%d\r\n", len(command))
	for _, word := range command {
		fmt.Fprintf(&out, "$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(c.conn, out.String()); err != nil {
		return "", fmt.Errorf("send %s: %w", command[0], err)
	}
	answer, err := c.answer()
	if err != nil && !errors.Is(err, errNil) {
		return "", fmt.Errorf("%s: %w", command[0], err)
	}
	return answer, err
}

func (c *client) answer() (string, error) {
	line, err := c.reader.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("read answer: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", errors.New("empty answer")
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+', ':':
		return rest, nil
	case '$':
		return c.bulk(rest)
	case '*':
		return c.list(rest)
	default:
		return "", errors.New(line)
	}
}

// list reads as many answers as have been announced; what has no value is an empty line.
func (c *client) list(announced string) (string, error) {
	length, err := strconv.Atoi(announced)
	if err != nil {
		return "", fmt.Errorf("read length: %w", err)
	}
	if length < 0 {
		return "", errNil
	}
	lines := make([]string, length)
	for i := range lines {
		if lines[i], err = c.answer(); err != nil && !errors.Is(err, errNil) {
			return "", err
		}
	}
	return strings.Join(lines, "\n"), nil
}

// bulk reads the text whose length has been announced.
func (c *client) bulk(announced string) (string, error) {
	length, err := strconv.Atoi(announced)
	if err != nil {
		return "", fmt.Errorf("read length: %w", err)
	}
	if length < 0 {
		return "", errNil
	}
	text := make([]byte, length+2)
	if _, err := io.ReadFull(c.reader, text); err != nil {
		return "", fmt.Errorf("read text: %w", err)
	}
	return string(text[:length]), nil
}
