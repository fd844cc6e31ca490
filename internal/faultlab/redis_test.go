package faultlab

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// The user that every Redis of the laboratory has, so that a client can be led to another server without noticing.
const (
	redisUser     = "lab"
	redisPassword = "lab"
)

// redisSettings are those of both servers. Nothing is kept over a restart, and a copy of the data that replication has made is
// removed, so that only the fault that means to brings old data back.
func redisSettings() []string {
	return []string{
		"user " + redisUser + " on >" + redisPassword + " ~* &* +@all",
		"masteruser " + redisUser, "masterauth " + redisPassword,
		"rdb-del-sync-files yes", "repl-diskless-sync-delay 0", "repl-timeout 10",
	}
}

// redisConn is one connection to Redis: as much of its protocol as the laboratory speaks (RESP2). It repeats nothing by itself.
type redisConn struct {
	conn net.Conn
	read *bufio.Reader
}

// redisError is an answer that says no.
type redisError string

func (e redisError) Error() string { return "redis: " + string(e) }

func dialRedis(addr string, within time.Duration) (*redisConn, error) {
	conn, err := net.DialTimeout("tcp", addr, within)
	if err != nil {
		return nil, fmt.Errorf("connect to Redis: %w", err)
	}
	c := &redisConn{conn: conn, read: bufio.NewReader(conn)}
	if _, err := c.do(within, "AUTH", redisUser, redisPassword); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *redisConn) close() { _ = c.conn.Close() }

// do sends one command. An answer is a string, an int64, nil or a []any of these.
func (c *redisConn) do(within time.Duration, command ...string) (any, error) {
	answers, err := c.all(within, command)
	if err != nil {
		return nil, err
	}
	return answers[0], nil
}

// all sends commands in one packet and reads all answers. The first answer that says no is the error.
func (c *redisConn) all(within time.Duration, commands ...[]string) ([]any, error) {
	if err := c.conn.SetDeadline(time.Now().Add(within)); err != nil {
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	var out strings.Builder
	for _, command := range commands {
		fmt.Fprintf(&out, "*%d\r\n", len(command))
		for _, word := range command {
			fmt.Fprintf(&out, "$%d\r\n%s\r\n", len(word), word)
		}
	}
	if _, err := io.WriteString(c.conn, out.String()); err != nil {
		return nil, fmt.Errorf("ask Redis: %w", err)
	}
	answers := make([]any, 0, len(commands))
	var first error
	for range commands {
		answer, err := c.answer()
		if err != nil {
			return nil, err
		}
		if refusal, ok := answer.(redisError); ok && first == nil {
			first = refusal
		}
		answers = append(answers, answer)
	}
	return answers, first
}

func (c *redisConn) answer() (any, error) {
	line, err := c.read.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("read from Redis: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return nil, fmt.Errorf("redis sent an empty line")
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+':
		return rest, nil
	case '-':
		return redisError(rest), nil
	}
	number, err := strconv.ParseInt(rest, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("redis sent %q", line)
	}
	switch {
	case kind == ':':
		return number, nil
	case number < 0:
		return nil, nil //nolint:nilnil // "no value" is an answer of Redis
	case kind == '$':
		text := make([]byte, number+2)
		if _, err := io.ReadFull(c.read, text); err != nil {
			return nil, fmt.Errorf("read from Redis: %w", err)
		}
		return string(text[:number]), nil
	case kind == '*':
		list := make([]any, number)
		for i := range list {
			if list[i], err = c.answer(); err != nil {
				return nil, err
			}
		}
		return list, nil
	default:
		return nil, fmt.Errorf("redis sent %q", line)
	}
}

// askRedis sends commands over a connection of its own.
func askRedis(addr string, commands ...[]string) ([]any, error) {
	const within = 3 * time.Second
	c, err := dialRedis(addr, within)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.all(within, commands...)
}

// infoField reads one line of the answer to INFO.
func infoField(info any, name string) string {
	text, _ := info.(string)
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
