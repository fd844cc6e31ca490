package stepproxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
)

// errMessage is of bytes that are no message of the protocol.
var errMessage = errors.New("not a message of PostgreSQL's protocol")

// startUp is the code of the message after which messages have a type (PostgreSQL: Message Formats, StartupMessage).
const startUp = 3 << 16

// postgres reads messages of PostgreSQL's protocol, version 3.
type postgres struct {
	from       *bufio.Reader
	started    bool
	statements map[string]string // prepared, by name
	bound      string            // what the next Execute executes
}

func newPostgres(from io.Reader) requests {
	return &postgres{from: bufio.NewReader(from), statements: map[string]string{}}
}

// next reads up to a Sync or a simple Query, or one message of those that come alone. What only prepares a statement is no
// request: it changes nothing, and the one that executes it follows.
func (p *postgres) next() ([]byte, string, error) {
	if !p.started {
		message, err := p.message(0)
		if err == nil {
			p.started = len(message) >= 8 && binary.BigEndian.Uint32(message[4:]) == startUp
		}
		return message, "", err
	}
	var sent []byte
	var request string
	for {
		message, err := p.message(1)
		if err != nil {
			return nil, "", err
		}
		sent = append(sent, message...)
		body := message[5:]
		switch message[0] {
		case 'P': // Parse
			name, rest := text(body)
			p.statements[name], _ = text(rest)
		case 'B': // Bind
			_, rest := text(body)
			name, _ := text(rest)
			p.bound = p.statements[name]
		case 'E': // Execute
			request = p.bound
		case 'C', 'D': // Close, Describe
		case 'Q': // Query
			request, _ = text(body)
			return sent, line(request), nil
		default:
			return sent, line(request), nil
		}
	}
}

// message reads one, whose length stands after so many bytes and counts from there.
func (p *postgres) message(after int) ([]byte, error) {
	head := make([]byte, after+4)
	if _, err := io.ReadFull(p.from, head); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(head[after:])
	if length < 4 || length > 1<<28 {
		return nil, errMessage
	}
	body := make([]byte, length-4)
	_, err := io.ReadFull(p.from, body)
	return slices.Concat(head, body), err
}

// text splits what ends with a zero byte from the rest.
func text(body []byte) (string, []byte) {
	before, rest, _ := bytes.Cut(body, []byte{0})
	return string(before), rest
}

// line is a statement on one line.
func line(statement string) string { return strings.Join(strings.Fields(statement), " ") }
