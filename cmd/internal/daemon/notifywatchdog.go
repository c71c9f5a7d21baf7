package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// watch tells systemd's watchdog that we live, three times in WatchdogSec=, as long as all
// our sockets answer. Else it says nothing, and systemd ends the process, which shows where
// its goroutines stand, and starts it anew.
func (d *daemon) watch(ctx context.Context, services []service) {
	limit, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		d.log.untold(err)
	}
	if limit == 0 {
		return
	}
	tick := time.NewTicker(limit / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch err := answer(ctx, services, limit/3); {
		case ctx.Err() != nil:
			return
		case err != nil:
			d.log.unanswered(err)
		default:
			d.notify(sd.SdNotifyWatchdog)
		}
	}
}

// answer returns nil if all sockets that mail depends on answer within the limit. Who reads
// the admin pages, or those for users, must not be able to end the daemon.
func answer(ctx context.Context, services []service, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, s := range services {
		if s.name == adminName || s.name == portalName {
			continue
		}
		for _, l := range s.listeners {
			if err := hangUp(ctx, l.Addr()); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return nil
}

// hangUp connects as the mail server does, ends its side, and waits for the other: that it
// ends too proves that connections are accepted, and served or, at the limit, refused. The
// kernel alone would let us connect. All protocols of ours end so.
func hangUp(ctx context.Context, at net.Addr) error {
	conn, err := new(net.Dialer).DialContext(ctx, at.Network(), at.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if limit, ok := ctx.Deadline(); ok {
		conn.SetDeadline(limit)
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite() // fails if the other side has hung up already
	}
	if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%s: connected, but not served: %w", at, err)
	}
	return nil
}
