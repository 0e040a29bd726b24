//go:build !unix

package proxy

type tryReader struct{}

func (s *socket) tryRead([]byte) (int, error) { return 0, errWouldWait }
