package portal

import (
	_ "embed"
	"net/http"

	"gatemilter/cmd/internal/web"
)

//go:embed style.css
var style string

//go:embed icon.svg
var icon []byte

var styleSource = web.StyleSource(style)

// protect keeps a browser from doing anything but showing the page and sending its forms back to
// us. (Without a referrer, older browsers would send forms without a useful Origin.)
func (s *Server) protect(h http.Header, r *http.Request) {
	web.Protect(h, styleSource+"; img-src 'self'", "'self'", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("X-Robots-Tag", "noindex, nofollow")
	if r.TLS != nil {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// icon is the picture before the title, and beside it in the browser's tab.
func (v *visit) icon() {
	v.w.Header().Set("Content-Type", "image/svg+xml")
	v.w.Write(icon)
}
