package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// sink is what the writer writes to. As io.Writer says, Write returns how much was taken also when it fails.
type sink interface {
	io.WriteCloser
	unwrite(n int) error // takes back the last n bytes
}

func openSink(o LogOptions) (sink, error) {
	if o.Path == "-" {
		return stream{o.Output}, nil
	}
	f, err := openFile(o.Path)
	if err != nil {
		return nil, fmt.Errorf("opening the access log: %w", err)
	}
	return f, nil
}

// stream is a sink that is not ours to close.
type stream struct{ io.Writer }

func (stream) Close() error { return nil }

func (stream) unwrite(int) error { return errors.ErrUnsupported }

// file is a sink with a path. Only a regular file can be cut.
type file struct {
	*os.File
	regular bool
}

// openFile opens a log for appending and cuts a half line off its end.
func openFile(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return file{}, err
	}
	s, err := checked(f)
	if err != nil {
		f.Close()
	}
	return s, err
}

func checked(f *os.File) (file, error) {
	info, err := f.Stat()
	if err != nil {
		return file{}, err
	}
	s := file{f, info.Mode().IsRegular()}
	if !s.regular || info.Size() == 0 {
		return s, nil
	}
	return s, s.trim(info.Size())
}

// trim cuts a half line off the end. A tail without any newline in it that is longer than the longest line is not ours: it is left alone.
func (f file) trim(size int64) error {
	const longest = 32 << 10
	r, err := os.Open(f.Name())
	if err != nil {
		return err
	}
	defer r.Close()
	tail := make([]byte, min(size, longest))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil {
		return err
	}
	whole := bytes.LastIndexByte(tail, '\n') + 1
	if whole == 0 && size > longest {
		return errors.New("the file's last line is longer than a record: it is not an access log")
	}
	if whole == len(tail) {
		return nil
	}
	return f.Truncate(size - int64(len(tail)-whole))
}

func (f file) unwrite(n int) error {
	if !f.regular {
		return errors.ErrUnsupported
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < int64(n) {
		return io.ErrUnexpectedEOF // somebody has cut the file
	}
	return f.Truncate(info.Size() - int64(n))
}
