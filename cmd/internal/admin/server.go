package admin

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// Limits of the server. Monitoring asks every few seconds, people now and then.
const (
	headerTimeout  = 5 * time.Second
	requestTimeout = 10 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeader      = 8 << 10
	maxConnections = 32
	maxScrapes     = 4
	// stopTimeout is how long an answer under way may take when the daemon stops. All mail
	// has been seen to by then.
	stopTimeout = 2 * time.Second
)

// A Server serves the pages of a monitor.
type Server struct{ http *http.Server }

// NewServer returns a server that tells report what went wrong on a connection.
func NewServer(m *Monitor, report func(error)) *Server {
	return &Server{&http.Server{
		Handler:                      m.handler(),
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  requestTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.New(reporter(report), "", 0),
	}}
}

// A reporter is told what net/http would log, a line at a time.
type reporter func(error)

func (r reporter) Write(line []byte) (int, error) {
	r(errors.New(strings.TrimSpace(string(line))))
	return len(line), nil
}

// Serve answers requests of a listener until Shutdown.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(netutil.LimitListener(l, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown ends Serve. Nothing is lost with an answer that is cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		return s.http.Close()
	}
	return nil
}

// handler answers for the four pages. (http.ServeMux would also redirect from others.)
func (m *Monitor) handler() http.Handler {
	scrape := promhttp.HandlerFor(prometheus.Gatherers{m.metrics.registry, m.metrics.process}, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes})
	pages := map[string]http.Handler{
		"/":        http.HandlerFunc(m.servePage),
		"/metrics": scrape,
		"/healthz": http.HandlerFunc(serveHealth),
		"/readyz":  http.HandlerFunc(m.serveReady),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protect(w.Header())
		page, known := pages[r.URL.Path]
		switch {
		case !asksUs(r):
			writeText(w, http.StatusMisdirectedRequest, "ask for this host by its address, or as localhost\n")
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			writeText(w, http.StatusMethodNotAllowed, "nothing can be changed here: use GET or HEAD\n")
		case !known:
			writeText(w, http.StatusNotFound, "there are /, /metrics, /healthz and /readyz\n")
		default:
			page.ServeHTTP(w, r)
		}
	})
}

// protect sets what keeps a browser from doing anything but showing the answer.
func protect(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src '"+styleHash+"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// asksUs says whether a request to a loopback address is for this host by address or as
// localhost. A name that a stranger has pointed here, for a browser on this host, is neither.
func asksUs(r *http.Request) bool {
	at, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok || !at.IP.IsLoopback() {
		return true
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	_, err := netip.ParseAddr(host)
	return err == nil || strings.EqualFold(host, "localhost")
}
