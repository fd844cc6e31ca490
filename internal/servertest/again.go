package servertest

import "testing"

// Again runs a server of Serve that has ended, from the same configuration and data and at the same addresses, and waits
// until it accepts.
func (s *Server) Again(t testing.TB) {
	t.Helper()
	s.Process = start(t, s.binary, &Log{}, s.Env, "serve", "--config", s.File)
	s.wait("accept connections", func() bool { return accepts("tcp", s.Address) && accepts("unix", s.AdminSocket) })
}

// Start runs the binary until the test ends, or is told to stop; env is added to a minimal environment.
func Start(t testing.TB, env []string, args ...string) *Process {
	t.Helper()
	return start(t, program(t, env), &Log{}, env, args...)
}

// Running says whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}
