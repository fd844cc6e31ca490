package stepproxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// errCommand is of bytes that are no command.
var errCommand = errors.New("not a command of Redis' protocol")

// redis reads commands of Redis' protocol.
type redis struct{ from *bufio.Reader }

func newRedis(from io.Reader) requests {
	return &redis{bufio.NewReaderSize(from, 64<<10)}
}

// next reads a whole pipeline: commands up to the one after which nothing waits. The request is their names with what else is
// a word in them, without what every round trip has to prove who answers.
func (r *redis) next() ([]byte, string, error) {
	var sent []byte
	var request []string
	for {
		raw, words, err := r.command()
		if err != nil {
			return nil, "", err
		}
		sent = append(sent, raw...)
		if !slices.Contains([]string{"auth", "client", "echo", "hello", "info", "select"}, words[0]) {
			request = append(request, strings.Join(words, " "))
		}
		if r.from.Buffered() == 0 {
			return sent, strings.Join(request, "; "), nil
		}
	}
}

// command reads one: an array of texts. It returns those that are a word of small letters, the name in any case.
func (r *redis) command() ([]byte, []string, error) {
	raw, count, err := r.number('*')
	if err != nil {
		return nil, nil, err
	}
	if count == 0 {
		return nil, nil, errCommand
	}
	var words []string
	for i := range count {
		head, length, err := r.number('$')
		if err != nil {
			return nil, nil, err
		}
		body := make([]byte, length+2)
		if _, err := io.ReadFull(r.from, body); err != nil {
			return nil, nil, err
		}
		raw = append(append(raw, head...), body...)
		if word := string(body[:length]); i == 0 || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz") == "" {
			words = append(words, strings.ToLower(word))
		}
	}
	return raw, words, nil
}

// number reads a line of a sign and a number.
func (r *redis) number(sign byte) ([]byte, int, error) {
	head, err := r.from.ReadBytes('\n')
	if err != nil {
		return nil, 0, err
	}
	var n int
	if _, err := fmt.Sscanf(string(head), string(sign)+"%d\r\n", &n); err != nil || n < 0 || n > 1<<28 {
		return nil, 0, errCommand
	}
	return head, n, nil
}
