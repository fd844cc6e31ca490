package redistest

import (
	"net/url"
	"strings"
	"time"
)

// Do runs a command as the administrator and returns the answer as text: of a list a line for each element, of no value
// nothing. Keys are those of database 0.
func (s *Server) Do(command ...string) string {
	s.t.Helper()
	answer, err := s.Try(command...)
	if err != nil {
		s.t.Fatalf("%s: %v", strings.Join(command, " "), err)
	}
	return answer
}

// Try is Do for commands that may be refused.
func (s *Server) Try(command ...string) (string, error) {
	c, err := dial(s.URL())
	if err != nil {
		return "", err
	}
	defer c.close()
	answer, err := c.do(command...)
	if err == errNil { //nolint:errorlint // made by do, never wrapped
		return "", nil
	}
	return answer, err
}

// Info returns a field of an INFO section, or "".
func (s *Server) Info(section, field string) string {
	s.t.Helper()
	for line := range strings.SplitSeq(s.Do("INFO", section), "\r\n") {
		if value, found := strings.CutPrefix(line, field+":"); found {
			return value
		}
	}
	return ""
}

// Save writes a snapshot of what the server holds, which the next Start loads.
func (s *Server) Save() {
	s.t.Helper()
	s.Do("SAVE")
}

// UserURL returns the URL for an ACL user that the test has made.
func (s *Server) UserURL(name, password string) string {
	s.t.Helper()
	parsed, err := url.Parse(s.URL())
	if err != nil {
		s.t.Fatalf("parse Redis URL: %v", err)
	}
	parsed.User = url.UserPassword(name, password)
	return parsed.String()
}

// await polls until done; the test fails when that takes a minute.
func (s *Server) await(what string, done func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(deadline) {
			s.t.Fatalf("Redis at %s: no %s within a minute:\n%s", s.Addr(), what, s.home.Log())
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // polls the server
	}
}
