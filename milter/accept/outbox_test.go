package accept

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// A sink takes what is written in one piece, or fails.
type sink struct {
	net.Conn
	got    []byte
	writes int
	fault  error
}

func (s *sink) Write(p []byte) (int, error) {
	s.writes++
	if s.fault != nil {
		return 0, s.fault
	}
	s.got = append(s.got, p...)
	return len(p), nil
}

func (s *sink) SetWriteDeadline(time.Time) error { return nil }

// What waits goes out in one write, and a write that fails leaves nothing to send again.
func TestOutboxSendsAtOnce(t *testing.T) {
	for fault, want := range map[error]string{nil: "one two", io.ErrClosedPipe: ""} {
		conn, o := &sink{fault: fault}, Outbox{}
		o = append(append(o, "one "...), "two"...)
		if err := o.Send(conn, time.Minute); !errors.Is(err, fault) {
			t.Errorf("Send: %v, want %v", err, fault)
		}
		if err := o.Send(conn, time.Minute); err != nil {
			t.Errorf("nothing to send: %v", err)
		}
		if string(conn.got) != want || conn.writes != 1 || len(o) > 0 {
			t.Errorf("with fault %v: %q in %d writes, %d octets left", fault, conn.got, conn.writes, len(o))
		}
	}
}

// A connection at rest keeps little room, and a busy one is told when to send.
func TestOutboxBounds(t *testing.T) {
	for octets, full := range map[int]bool{1: false, keptOutbox: false, outboxSize - 1: false, outboxSize: true} {
		o := make(Outbox, octets)
		if o.Full() != full {
			t.Errorf("%d octets: full %v", octets, o.Full())
		}
		kept := 0
		if octets <= keptOutbox {
			kept = octets
		}
		if o.Send(new(sink), time.Minute); cap(o) != kept {
			t.Errorf("%d octets: room for %d is kept, want %d", octets, cap(o), kept)
		}
	}
}
