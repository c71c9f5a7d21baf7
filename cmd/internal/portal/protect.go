package portal

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
)

//go:embed style.css
var style string

//go:embed icon.svg
var icon []byte

// styleHash lets a browser use our style sheet, which is part of each page, and no other (CSP
// Level 3, section 6.7.3.3).
var styleHash = func() string {
	sum := sha256.Sum256([]byte(style))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}()

// protect sets what keeps a browser from doing anything but showing the page and sending its
// forms back to us.
func (s *Server) protect(h http.Header, r *http.Request) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src '"+styleHash+"'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	// With no-referrer, older browsers would send forms without a useful Origin.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("X-Robots-Tag", "noindex, nofollow")
	h.Set("Cache-Control", "no-store")
	if r.TLS != nil {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// icon is the picture before the title, and beside it in the browser's tab.
func (v *visit) icon() {
	v.w.Header().Set("Content-Type", "image/svg+xml")
	v.w.Write(icon)
}
