// Package web is what our web servers have in common, the one with the admin pages and the one with
// the portal: neither may take mail down with it, and a browser is to do nothing with their pages
// but show them.
package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log"
	"net/http"
	"strings"
	"time"
)

// Protect sets what keeps a browser from doing anything but showing the answer
// (Content-Security-Policy): it may use these sources, and send forms to these places. The referrer
// says to whom our pages are named.
func Protect(h http.Header, sources, forms, referrer string) {
	h.Set("Content-Security-Policy", "default-src 'none'; "+sources+"; base-uri 'none'; form-action "+forms+"; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", referrer)
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// StyleSource lets a browser use a style sheet that is part of the page, and no other (CSP Level 3,
// section 6.7.3.3).
func StyleSource(style string) string {
	sum := sha256.Sum256([]byte(style))
	return "style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// ErrorLog tells report what net/http would log, a line at a time; but not of whoever only knocks,
// as he could fill the log with that.
func ErrorLog(report func(error)) *log.Logger { return log.New(reporter(report), "", 0) }

type reporter func(error)

func (r reporter) Write(line []byte) (int, error) {
	for _, knocking := range []string{"http: TLS handshake error", "http2: server: error reading preface"} {
		if bytes.HasPrefix(line, []byte(knocking)) {
			return len(line), nil
		}
	}
	r(errors.New(strings.TrimSpace(string(line))))
	return len(line), nil
}

// Ended is the error with which serving ended, or nil after Shutdown.
func Ended(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown ends serving. Answers under way have so long, and are then cut off.
func Shutdown(ctx context.Context, s *http.Server, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if s.Shutdown(ctx) != nil {
		return s.Close()
	}
	return nil
}
