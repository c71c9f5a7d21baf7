// Package accepttest has what tests of servers need that accept connections.
package accepttest

import "net"

// A Listener accepts what is sent to it: a net.Conn, or the error of an Accept that
// fails. Serving it works in the bubbles of testing/synctest, other than with sockets.
type Listener chan any

// Accept returns what was sent, and net.ErrClosed after Close.
func (l Listener) Accept() (net.Conn, error) {
	switch v := (<-l).(type) {
	case net.Conn:
		return v, nil
	case error:
		return nil, v
	}
	return nil, net.ErrClosed
}

// Close may be called twice, as with the listeners of package net.
func (l Listener) Close() (err error) {
	defer func() {
		if recover() != nil {
			err = net.ErrClosed
		}
	}()
	close(l)
	return nil
}

// Addr is that of a unix socket.
func (l Listener) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }
