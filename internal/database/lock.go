package database

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// errHeld says that another open file has the lock.
var errHeld = errors.New("the lock is held")

// lockFile takes the exclusive lock that belongs to a database file and returns what gives it up. The system gives it up, too, when
// the process ends in whatever way. The lock file stays: removing it would let two servers lock two files of one name.
func lockFile(name string) (release func() error, err error) {
	f, err := os.OpenFile(name+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, explainFile(name, err)
	}
	if err := tryLock(f); err != nil {
		holder := ""
		if b, e := os.ReadFile(f.Name()); e == nil && len(b) > 0 {
			holder = ", process " + strings.TrimSpace(string(b))
		}
		_ = f.Close()
		if !errors.Is(err, errHeld) {
			return nil, explainFile(name, err)
		}
		return nil, &Error{Kind: ErrInUse, Name: name, Message: "another tenantgate has it open" + holder,
			Hint: "stop that one, or give this one a database of its own (several servers share one on PostgreSQL)"}
	}
	// The process id helps whoever reads the message above; a full disk must not keep the server from starting for it.
	if f.Truncate(0) == nil {
		_, _ = fmt.Fprintln(f, os.Getpid())
	}
	return f.Close, nil
}
