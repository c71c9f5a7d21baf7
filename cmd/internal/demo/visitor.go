package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"golang.org/x/net/html"

	"gatemilter/cmd/internal/lab"
)

// A visitor is somebody at the portal, whose browser trusts the demo's authority.
type visitor struct {
	client *http.Client
	url    string
}

func newVisitor(ca *lab.CA, portal string) (*visitor, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &visitor{&http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}}, portal}, nil
}

// post sends a form, and returns what the page that comes of it says first.
func (v *visitor) post(ctx context.Context, path string, form map[string]string) (string, error) {
	values := make(url.Values)
	for key, value := range form {
		values.Set(key, value)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, v.url+path, strings.NewReader(values.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept-Language", "en")
	answer, err := v.client.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	page, err := html.Parse(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if answer.StatusCode/100 == 5 {
		return "", fmt.Errorf("the portal answers %s", answer.Status)
	}
	for _, wanted := range []func(*html.Node) bool{isNotice, isTitle} {
		if text := textOf(find(page, wanted)); text != "" {
			return text, nil
		}
	}
	return "", fmt.Errorf("the page says nothing, %s", answer.Status)
}

// isNotice is what a page says about what was just done.
func isNotice(n *html.Node) bool {
	if n.Parent == nil || n.Type != html.ElementNode || n.Data != "h2" && n.Data != "p" {
		return false
	}
	for _, a := range n.Parent.Attr {
		if a.Key == "role" && (a.Val == "alert" || a.Val == "status") {
			return true
		}
	}
	return false
}

func isTitle(n *html.Node) bool { return n.Type == html.ElementNode && n.Data == "h1" }

// find returns the first node that is wanted, or nil.
func find(n *html.Node, wanted func(*html.Node) bool) *html.Node {
	for d := range n.Descendants() {
		if wanted(d) {
			return d
		}
	}
	return nil
}

func textOf(n *html.Node) string {
	if n == nil {
		return ""
	}
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
