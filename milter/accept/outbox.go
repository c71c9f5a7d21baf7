package accept

import (
	"fmt"
	"net"
	"time"
)

// Packets wait until the server has nothing left to read, or until there are outboxSize
// octets of them. A connection at rest keeps keptOutbox at most.
const (
	outboxSize = 64 << 10
	keptOutbox = 1 << 10
)

// An Outbox is what a connection is to send. A peer that asks several things at once
// has its answers at once: each write costs a system call here, and a wake-up there.
type Outbox []byte

// Full says that it is time to send, even if there is more to be read: what waits is
// bounded, whatever the peer asks for.
func (o Outbox) Full() bool { return len(o) >= outboxSize }

// Send sends what waits, within a time limit. Whether it fails or not, nothing waits
// afterwards.
func (o *Outbox) Send(conn net.Conn, limit time.Duration) error {
	out := *o
	if len(out) == 0 {
		return nil
	}
	*o = out[:0]
	if cap(out) > keptOutbox {
		*o = nil
	}
	err := conn.SetWriteDeadline(time.Now().Add(limit))
	if err == nil {
		_, err = conn.Write(out)
	}
	if err != nil {
		return fmt.Errorf("reply could not be sent: %w", err)
	}
	return nil
}
