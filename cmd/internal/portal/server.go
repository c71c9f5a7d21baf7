package portal

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"

	"gatemilter/cmd/internal/web"
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
		ErrorLog:                     web.ErrorLog(s.Report),
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

// Serve answers requests of a listener until Shutdown, with TLS where there is a certificate.
func (s *Server) Serve(l net.Listener) error {
	l = netutil.LimitListener(&crowd{Listener: l, free: s.isProxy}, maxConnections)
	serve := s.http.Serve
	if s.keys != nil {
		serve = func(l net.Listener) error { return s.http.ServeTLS(l, "", "") }
	}
	return web.Ended(serve(l))
}

// Shutdown ends Serve. What a user was about to save is stored in full, or not at all.
func (s *Server) Shutdown(ctx context.Context) error {
	return web.Shutdown(ctx, s.http, stopTimeout)
}
