package pgtest

// Segment returns the number of the server's System V segment.
func (s *Server) Segment() string { return s.segment() }
