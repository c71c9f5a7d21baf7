package identity

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"syscall"
	"time"
)

// A directoryLock is held by the one process that prepares the tables of a database in the
// directory. It ends with the process. (The database's own file can't be the one that is
// locked: see file600.)
type directoryLock struct {
	path string
	file *os.File
}

// lockPoll is how often a lock is tried that another process has.
const lockPoll = 20 * time.Millisecond

func (l *directoryLock) SessionLock(ctx context.Context, _ *sql.Conn) (err error) {
	if l.file, err = os.Open(l.path); err != nil {
		return err
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(l.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return errors.Join(err, l.file.Close())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), l.file.Close())
		}
	}
}

func (l *directoryLock) SessionUnlock(context.Context, *sql.Conn) error { return l.file.Close() }
