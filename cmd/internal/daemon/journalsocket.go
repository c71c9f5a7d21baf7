package daemon

import (
	"io"
	"net"
	"os"

	"github.com/coreos/go-systemd/v22/journal"
)

// journalPath is where systemd-journald takes entries, one a datagram. A service with
// LogNamespace= sees the socket of its own journal there.
const journalPath = "/run/systemd/journal/socket"

// A journalSocket is a connection with systemd-journald. Each Write sends an entry, and waits
// while the journal's queue is full: callers have a [logQueue] before it.
//
// The connection is our own. That of go-systemd's journal.Send is not connected, so Go's
// poller takes it for writable when the journal is full, and Send tries again all the time
// on a whole processor.
type journalSocket struct {
	path string
	conn *net.UnixConn
}

func dialJournal(path string) (*journalSocket, error) {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	return &journalSocket{path, conn}, nil
}

// Write sends an entry; a second time if the journal has been started anew.
func (j *journalSocket) Write(entry []byte) (int, error) {
	n, err := j.conn.Write(entry)
	if err == nil {
		return n, nil
	}
	anew, err := dialJournal(j.path)
	if err != nil {
		return 0, err
	}
	j.conn.Close()
	j.conn = anew.conn
	return j.conn.Write(entry)
}

// leadsToJournal says whether what is written to stderr ends in the journal anyway, line by
// line and without fields: systemd tells in JOURNAL_STREAM which file that is.
func leadsToJournal(stderr io.Writer) bool {
	is, err := journal.StderrIsJournalStream()
	return err == nil && is && stderr == io.Writer(os.Stderr)
}
