package admin

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"gatemilter/cmd/internal/web"
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
		ErrorLog:                     web.ErrorLog(report),
	}}
}

// Serve answers requests of a listener until Shutdown.
func (s *Server) Serve(l net.Listener) error {
	return web.Ended(s.http.Serve(netutil.LimitListener(l, maxConnections)))
}

// Shutdown ends Serve. Nothing is lost with an answer that is cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	return web.Shutdown(ctx, s.http, stopTimeout)
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

// protect keeps a browser from doing anything but showing the answer.
func protect(h http.Header) { web.Protect(h, styleSource, "'none'", "no-referrer") }

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
