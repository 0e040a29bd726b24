package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// maxInput bounds what a command reads from a file or standard input: keys, requests, certificates.
const maxInput = 1 << 20

// readInput reads a file, or standard input when name is "-". what names the thing in errors.
func (p *program) readInput(name, what string) ([]byte, error) {
	if name == "-" {
		b, err := readAtMost(p.stdin, maxInput)
		if err != nil {
			return nil, fmt.Errorf("reading %s from standard input: %w", what, err)
		}
		return b, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", what, err)
	}
	defer f.Close()
	b, err := readAtMost(f, maxInput)
	if err != nil {
		return nil, fmt.Errorf("reading %s from %s: %w", what, name, err)
	}
	return b, nil
}

// readAtMost reads r to its end; more than limit bytes are an error, not a truncation.
func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	return b, nil
}

// trimLine is b without the line end that editors put after the last line.
func trimLine(b []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
}
