package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// BackupRequest is the body of POST /v1/backup.
type BackupRequest struct {
	// KeysPassphrase has the keys put into the backup, encrypted under it; "" leaves them out. It has 16 octets or more.
	KeysPassphrase string `json:"keys_passphrase,omitempty"`
}

// stream is an answer that is written as it is made. Its error, after the first octet, can only be told by breaking the connection off.
type stream struct {
	kind  string
	write func(w io.Writer) error
}

// backupStall is how long the reader of a backup may take nothing before it is left alone: the snapshot that it holds open keeps the database's log from
// being cut.
const backupStall = time.Minute

// makeBackup answers with the whole state of the node as a file.
func makeBackup(s *Server, c *call) (any, error) {
	var q BackupRequest
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	if s.Backup == nil {
		return nil, errNoAddress
	}
	if n := len(q.KeysPassphrase); n > 0 && n < minPassphrase {
		return nil, invalid("keys_passphrase", "the passphrase is too short", "give 16 octets or more: the keys of every tenant are behind it")
	}
	select {
	case s.backupTurn() <- struct{}{}:
	default:
		return nil, &problem{Status: http.StatusConflict, Code: "busy", Detail: "another backup is being made", Hint: "wait until it has ended"}
	}
	write, err := s.Backup(c.Context(), c.actor, q)
	if err != nil {
		<-s.backupTurn()
		return nil, err
	}
	return &stream{"application/vnd.tenantgate.backup", func(w io.Writer) error {
		defer func() { <-s.backupTurn() }()
		return write(w)
	}}, nil
}

// minPassphrase is how long the passphrase of the keys must be, in octets.
const minPassphrase = 16

func (s *Server) backupTurn() chan struct{} {
	s.backupOnce.Do(func() { s.backups = make(chan struct{}, 1) })
	return s.backups
}

// serveStream writes an answer of unknown length. Each write moves the deadline, so that only a reader who stalls is cut off. An error before the first
// octet is returned; later there is no status left to say it with, and the connection breaks off.
func (s *Server) serveStream(w http.ResponseWriter, r *http.Request, answer *stream) error {
	control := http.NewResponseController(w)
	began := false
	out := writerFunc(func(b []byte) (int, error) {
		if !began {
			began = true
			w.Header().Set("Content-Type", answer.kind)
		}
		if err := control.SetWriteDeadline(time.Now().Add(backupStall)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return 0, err
		}
		return w.Write(b)
	})
	err := answer.write(out)
	if err == nil || !began {
		return err
	}
	s.logger().Error("admin request broken off", "request_id", w.Header().Get("X-Request-Id"), "path", r.URL.Path, "error", err)
	panic(http.ErrAbortHandler)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// Backup writes a backup of the server's whole state to w. What was written when it returns an error is no backup.
func (c *Client) Backup(ctx context.Context, q BackupRequest, w io.Writer) error {
	response, err := c.send(ctx, http.MethodPost, address("backup"), q, "")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		content, _ := io.ReadAll(io.LimitReader(response.Body, 1<<20))
		return apiError(response, content)
	}
	n, err := io.Copy(w, response.Body)
	if err != nil {
		return &BrokenOff{Octets: n, Err: err}
	}
	return nil
}

// BrokenOff is that an answer ended too early, or could not be kept.
type BrokenOff struct {
	Octets int64
	Err    error
}

// Error names the cause.
func (e *BrokenOff) Error() string { return "receiving the backup: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *BrokenOff) Unwrap() error { return e.Err }
