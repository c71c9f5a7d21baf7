package portal

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/netutil"
)

// Limits of the server. A request that tries a user's server waits for it: probeTimeout.
const (
	headerTimeout  = 5 * time.Second
	requestTimeout = 15 * time.Second
	writeTimeout   = probeTimeout + 30*time.Second
	idleTimeout    = 30 * time.Second
	maxHeader      = 16 << 10
	maxBody        = 16 << 10
	maxConnections = 256
	// stopTimeout is how long an answer under way may take when the daemon stops.
	stopTimeout = 3 * time.Second
)

// fromUnix marks the requests that come by a unix socket.
type fromUnix struct{}

func (s *Server) newHTTP() *http.Server {
	h := &http.Server{
		Handler:                      http.HandlerFunc(s.serve),
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  requestTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.New(reporter(s.Report), "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if c.LocalAddr().Network() == "unix" {
				return context.WithValue(ctx, fromUnix{}, true)
			}
			return ctx
		},
	}
	if s.keys != nil {
		h.TLSConfig = &tls.Config{GetCertificate: s.keys.get, MinVersion: tls.VersionTLS12}
	}
	return h
}

// A reporter is told what net/http would log, a line at a time.
type reporter func(error)

func (r reporter) Write(line []byte) (int, error) {
	for _, knocking := range []string{"http: TLS handshake error", "http2: server: error reading preface"} {
		if bytes.HasPrefix(line, []byte(knocking)) {
			return len(line), nil // whoever comes could fill the log with that
		}
	}
	r(errors.New(strings.TrimSpace(string(line))))
	return len(line), nil
}

// Serve answers requests of a listener until Shutdown, with TLS where there is a certificate.
func (s *Server) Serve(l net.Listener) error {
	l = netutil.LimitListener(&crowd{Listener: l, free: s.isProxy}, maxConnections)
	serve := s.http.Serve
	if s.keys != nil {
		serve = func(l net.Listener) error { return s.http.ServeTLS(l, "", "") }
	}
	if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown ends Serve. What a user was about to save is stored in full, or not at all.
func (s *Server) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		return s.http.Close()
	}
	return nil
}
