package portal

import (
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"gatemilter/policy"
)

// A visit is a request, and what has been found out about who makes it.
type visit struct {
	*Server
	w       http.ResponseWriter
	r       *http.Request
	path    string // behind the base
	client  string
	lang    *spoken
	session *session // nil: not logged in
	ended   bool     // the browser still has the token of a session that is over
	facts   Facts
}

// A route is what is done for a path. Nobody comes to one that isn't open without a login.
type route struct {
	get, post func(*visit)
	open      bool
}

// routes are all there is, by path behind the base. What only changes something leads back from
// where it is asked for with GET: as by the links for another language.
var routes = map[string]route{
	"/":           {get: (*visit).list},
	"/login":      {get: (*visit).loginPage, post: (*visit).login, open: true},
	"/logout":     {get: (*visit).home, post: (*visit).logout, open: true},
	"/help":       {get: (*visit).help, open: true},
	"/add":        {get: (*visit).addPage, post: (*visit).add},
	"/add/server": {get: (*visit).addAgain, post: (*visit).addServer},
	"/change":     {get: (*visit).changePage, post: (*visit).change},
	"/test":       {get: (*visit).home, post: (*visit).test},
	"/code":       {get: (*visit).home, post: (*visit).sendCode},
	"/confirm":    {get: (*visit).confirmPage, post: (*visit).confirm},
	"/remove":     {get: (*visit).removePage, post: (*visit).remove},
	"/icon.svg":   {get: (*visit).icon, open: true},
}

// otherHost is for who comes by another name, and for the administrator whose proxy does.
const otherHost = `This is another host: the page that you want is at %s://%s%s/

If you are the administrator and have opened just that: the proxy before gatemilter
has to pass the Host header as the browser sends it (Host: %s), as with
"proxy_set_header Host $http_host" (nginx) or "ProxyPreserveHost On" (Apache). And the
url in [portal] has to be the address that users open.
`

// serve answers a request, after all that can be refused without knowing what it is about.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.protect(w.Header(), r)
	if hostOf(s.url.Scheme, r.Host) != s.host {
		s.Log(Event{Kind: Refused, Result: "other-host", Client: s.client(r), Reason: fmt.Sprintf("the Host header is %q", firstOf(r.Host, maxHost))})
		http.Error(w, fmt.Sprintf(otherHost, s.url.Scheme, s.url.Host, s.base, s.url.Host), http.StatusMisdirectedRequest)
		return
	}
	v := &visit{Server: s, w: w, r: r, client: s.client(r), facts: s.Facts()}
	v.chooseLanguage()
	if token := s.cookie(r, sessionCookie); token != "" {
		v.session = s.sessions.find(token)
		v.ended = v.session == nil
	}
	path, ours := strings.CutPrefix(r.URL.Path, s.base)
	if v.path = path; path == "" {
		v.path = "/"
	}
	route, known := routes[v.path]
	switch {
	case !ours || !known:
		v.refuse(http.StatusNotFound, "notFound")
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		v.enter(route, route.get)
	case r.Method == http.MethodPost && route.post != nil:
		v.posted(route)
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		v.refuse(http.StatusMethodNotAllowed, "notFound")
	}
}

// posted looks whether the form of a request is one of ours.
func (v *visit) posted(route route) {
	if err := v.crossing.Check(v.r); err != nil {
		v.log(Event{Kind: Refused, Result: "cross-origin"})
		v.refuse(http.StatusForbidden, "crossOrigin")
		return
	}
	kind, _, err := mime.ParseMediaType(v.r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		v.refuse(http.StatusUnsupportedMediaType, "notFound")
		return
	}
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxBody)
	if err := v.r.ParseForm(); err != nil {
		v.refuse(http.StatusRequestEntityTooLarge, "tooMuch")
		return
	}
	v.enter(route, route.post)
}

// enter does what is asked for, or has the user log in first.
func (v *visit) enter(route route, do func(*visit)) {
	if v.session == nil && !route.open {
		v.redirect("/login", "next", v.wanted())
		return
	}
	do(v)
}

// returns are the pages from which forms that only change something come.
var returns = map[string]string{"/add/server": "/add", "/code": "/confirm"}

// wanted is the page that a login leads back to: the one that was asked for, or the one with the
// form that was sent, for the same address. All else that was entered is gone.
func (v *visit) wanted() string {
	next, query := v.path, v.r.URL.RawQuery
	if v.r.Method == http.MethodPost {
		query = url.Values{"address": {v.value("address")}}.Encode()
	}
	if page, ok := returns[next]; ok {
		next = page
	}
	return localTarget(next + "?" + query)
}

// value is what was entered in a field. Octets that are no UTF-8 are no text.
func (v *visit) value(name string) string {
	return strings.ToValidUTF8(v.r.PostFormValue(name), "\uFFFD")
}

// query is a part of the address that was asked for.
func (v *visit) query(name string) string {
	text := v.r.URL.Query().Get(name)
	if !utf8.ValidString(text) {
		return ""
	}
	return text
}

// link is the address of a page of ours, with names and values for its query.
func (s *Server) link(path string, query ...string) string {
	link := s.base + path
	values := url.Values{}
	for i := 0; i+1 < len(query); i += 2 {
		if query[i+1] != "" {
			values.Set(query[i], query[i+1])
		}
	}
	if len(values) > 0 {
		link += "?" + values.Encode()
	}
	return link
}

func (v *visit) redirect(path string, query ...string) {
	http.Redirect(v.w, v.r, v.link(path, query...), http.StatusSeeOther)
}

// home leads to the list of addresses.
func (v *visit) home() { v.redirect("/") }

// targets are the pages to which a login may lead.
var targets = map[string]bool{"/add": true, "/change": true, "/confirm": true, "/remove": true, "/help": true}

// localTarget makes sure that a target is a page of ours, and what it is asked for no more than
// an address and a code. All else is "", the list of addresses.
func localTarget(target string) string {
	at, err := url.Parse(target)
	if err != nil || at.Scheme != "" || at.Host != "" || at.User != nil || at.Opaque != "" || !targets[at.Path] || len(target) > maxTarget {
		return ""
	}
	values := url.Values{}
	for _, name := range []string{"address", "code"} {
		if value := at.Query().Get(name); value != "" && utf8.ValidString(value) {
			values.Set(name, value)
		}
	}
	if len(values) == 0 {
		return at.Path
	}
	return at.Path + "?" + values.Encode()
}

// maxTarget bounds a target, in octets: an address has up to three for each of its own there.
const maxTarget = 1200

// log tells of something that the visitor did.
func (v *visit) log(e Event) {
	e.Client = v.client
	if e.Login == "" && v.session != nil {
		e.Login = v.session.login
	}
	v.Log(e)
}

// by says who makes a change, for the store's history.
func (v *visit) by() string { return v.session.login + " (portal, " + v.client + ")" }

// account is the address of a login's own account, or "" where there is none.
func (v *visit) account(login string) string {
	if u := v.configured(login); u != nil {
		return u.Account
	}
	if strings.Contains(login, "@") {
		if address, err := parseAddress(login); err == nil && v.facts.Domains[policy.Domain(address)] {
			return address
		}
		return ""
	}
	if v.Config.AccountDomain == "" {
		return ""
	}
	address, err := parseAddress(login + "@" + v.Config.AccountDomain)
	if err != nil {
		return ""
	}
	return address
}

// configured is what the administrator has written down about a login, or nil.
func (v *visit) configured(login string) *policy.User {
	if v.facts.Configured == nil {
		return nil
	}
	return v.facts.Configured(login)
}

// mayHave says whether a user may have an address: those of our own domains are given by the
// administrator.
func (v *visit) mayHave(login, address string) bool {
	if !v.facts.Domains[policy.Domain(address)] || address == v.account(login) {
		return true
	}
	u := v.configured(login)
	return u != nil && u.Has(address)
}

// hostOf is a Host header without what goes without saying.
func hostOf(scheme, host string) string {
	host = strings.ToLower(host)
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		return host
	}
	if scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		if strings.Contains(name, ":") {
			return "[" + name + "]"
		}
		return name
	}
	return host
}
