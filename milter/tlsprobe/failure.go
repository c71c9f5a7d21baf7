package tlsprobe

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// withContext prefers the end of ctx, which closes the connection, to what the
// connection then says.
func withContext(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// findingOf says what the error of a connection means.
func findingOf(err error) Finding {
	var f Finding
	switch {
	case errors.As(err, &f):
		return f
	case isTimeout(err):
		return Finding{Timeout, "no answer in time"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return Finding{Refused, "connection refused"}
	case isClosed(err):
		return Finding{Closed, "the server closed the connection"}
	}
	return Finding{ConnectionFailed, lastCause(err).Error()}
}

func isTimeout(err error) bool {
	var f Finding
	if errors.As(err, &f) {
		return f.Problem == Timeout
	}
	var n net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}

func isClosed(err error) bool {
	for _, closed := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, closed) {
			return true
		}
	}
	return false
}

// lastCause is the innermost error: the outer ones repeat the address.
func lastCause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// explainHandshake says why there is no TLS.
func explainHandshake(err error, implicit bool) Finding {
	var header tls.RecordHeaderError
	if errors.As(err, &header) {
		begin := string(header.RecordHeader[:])
		switch {
		case implicit && beginsReply(begin[:3]):
			return Finding{ClearFromStart, "the server greets in clear instead of beginning TLS"}
		case implicit:
			return Finding{NotSMTP, "what it sent is no TLS: it begins with " + quote(begin)}
		}
		return Finding{HandshakeFailed, "after it agreed to TLS the server sent something else: it begins with " + quote(begin)}
	}
	// A server that can't do better, or that chooses SSL 3.0. There is no typed error for it.
	if strings.Contains(err.Error(), "protocol version") {
		return Finding{TLSTooOld, "there is no version of TLS in common: " + err.Error()}
	}
	f := explainAlert(err)
	switch f.Problem {
	case Timeout, Closed:
		f.Reason += " in the handshake"
	case ConnectionFailed:
		f = Finding{HandshakeFailed, "the handshake fails: " + strings.TrimPrefix(err.Error(), "tls: ")}
	}
	return f
}

// explainAlert is findingOf where the server may have ended TLS with an alert.
func explainAlert(err error) Finding {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return Finding{HandshakeFailed, "the server breaks TLS off: " + strings.TrimPrefix(op.Err.Error(), "tls: ")}
	}
	return findingOf(err)
}
