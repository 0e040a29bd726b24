//go:build !unix

package proxy

type rawReader struct{}

// await leaves the waiting to Read.
func (s *socket) await() error { return nil }

func (s *socket) tryRead([]byte) (int, error) { return 0, errWouldWait }
