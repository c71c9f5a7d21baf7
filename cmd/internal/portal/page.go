package portal

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"time"

	"gatemilter/cmd/internal/visible"
)

//go:embed pages/*.html
var pageFiles embed.FS

// pages escapes whatever is put into it. The style sheet is ours, and constant.
var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"style": func() template.CSS { return template.CSS(style) },
}).ParseFS(pageFiles, "pages/*.html"))

// A page is what is shown.
type page struct {
	v     *visit
	Name  string // of the template
	Title string
	// Step is which of the three steps to a new address this is, or 0.
	Step    int
	Notice  *notice
	Trouble *trouble
	Fields  []*field
	Body    any
}

// A notice tells what became of what the user did.
type notice struct {
	Kind string // good, warn or bad
	Text string
	More []string
}

// A trouble is why a server can't be used, in the user's words.
type trouble struct {
	// Field is where it can be put right, or "".
	Field  string
	Title  string
	Advice []string
	// Said is what the server said about it, or "".
	Said string
}

// A field is a part of a form.
type field struct {
	Name, Label, Hint, Value string
	Error                    string
	Type                     string // text, email, password or radio
	Autocomplete, InputMode  string
	Optional                 bool
	Max                      int
	Options                  []option
}

type option struct {
	Value, Label, Hint string
	Checked            bool
}

// Describes are the elements that say more about the field.
func (f *field) Describes() string {
	ids := ""
	if f.Hint != "" {
		ids = f.Name + "-hint"
	}
	if f.Error != "" {
		ids += " " + f.Name + "-error"
	}
	return ids
}

// What templates ask a page.

func (p *page) T(key string, values ...any) string        { return p.v.lang.t(key, values...) }
func (p *page) H(key string, values ...any) template.HTML { return p.v.lang.html(key, values...) }
func (p *page) Link(path string, query ...string) string  { return p.v.link(path, query...) }
func (p *page) Letters(address string) string             { return inLetters(address) }
func (p *page) Lang() string                              { return p.v.lang.Tag }
func (p *page) Host() string                              { return p.v.url.Host }
func (p *page) At(path string) bool                       { return p.v.path == path }
func (p *page) Observe() bool                             { return p.v.facts.Observe && p.v.session != nil }
func (p *page) Allowed() bool                             { return p.v.facts.AllowUserGateways }
func (p *page) Field(name string) *field                  { return fieldOf(p.Fields, name) }

// Has says whether a form has such a field.
func (p *page) Has(name string) bool {
	return slices.ContainsFunc(p.Fields, func(f *field) bool { return f.Name == name })
}

// A step is one of those to a new address.
type step struct {
	Number        int
	Text          string
	Current, Done bool
}

// Steps are all that the user has before him. Without servers of users' own there are two.
func (p *page) Steps() (list []step) {
	for i, key := range []string{"steps.address", "steps.server", "steps.code"} {
		if i == 1 && !p.Allowed() {
			continue
		}
		list = append(list, step{len(list) + 1, p.T(key), i+1 == p.Step, i+1 < p.Step})
	}
	return list
}

// Login is who is logged in, or "".
func (p *page) Login() string {
	if p.v.session == nil {
		return ""
	}
	return visible.Text(p.v.session.login, 80)
}

// Wrong are the fields that have to be put right.
func (p *page) Wrong() (list []*field) {
	for _, f := range p.Fields {
		if f.Error != "" {
			list = append(list, f)
		}
	}
	return list
}

// A tongue is a link that shows a page in another language.
type tongue struct {
	Tag, Name, Link string
	Current         bool
}

// Tongues lead to this page in each language, with what it was asked for.
func (p *page) Tongues() (list []tongue) {
	path := p.v.path
	if _, known := routes[path]; !known {
		path = "/"
	}
	for _, s := range speaks {
		query := []string{"lang", s.Tag}
		for _, name := range []string{"address", "code", "next"} {
			query = append(query, name, p.v.query(name))
		}
		if address := p.v.r.PostForm.Get("address"); path != "/add" && path != "/add/server" && p.v.query("address") == "" && targets[path] {
			query = append(query, "address", address)
		}
		list = append(list, tongue{s.Tag, s.Name, p.v.link(path, query...), s == p.v.lang})
	}
	return list
}

func fieldOf(fields []*field, name string) *field {
	for _, f := range fields {
		if f.Name == name {
			return f
		}
	}
	return &field{Name: name, Type: "text"}
}

// show answers with a page.
func (v *visit) show(status int, p *page) {
	p.v = v
	if p.Notice == nil && v.session != nil && v.r.Method != http.MethodHead {
		p.Notice = v.session.take()
	}
	if p.Trouble != nil && p.Has(p.Trouble.Field) {
		p.Field(p.Trouble.Field).Error = p.Trouble.Title
	}
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, "layout.html", p); err != nil {
		v.Report(err)
		http.Error(v.w, "the page can't be shown", http.StatusInternalServerError)
		return
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.Header().Set("Content-Language", v.lang.Tag)
	v.w.Header().Add("Vary", "Accept-Language, Cookie")
	v.w.WriteHeader(status)
	v.w.Write(b.Bytes())
}

// refuse answers with a page that only says why there is no other. Its texts have the key as
// their beginning.
func (v *visit) refuse(status int, key string, values ...any) {
	v.show(status, &page{Name: "message", Title: v.lang.t(key + ".title"), Body: v.lang.t(key+".text", values...)})
}

// tooOften is the notice for who has to wait.
func (v *visit) tooOften(wait time.Duration) *notice {
	v.w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
	minutes := int((wait + time.Minute - 1) / time.Minute)
	if minutes <= 1 {
		return &notice{Kind: "bad", Text: v.lang.t("limit.minute")}
	}
	return &notice{Kind: "bad", Text: v.lang.t("limit.minutes", "minutes", minutes)}
}

// errBusy says that too many are trying servers at once.
var errBusy = errors.New("all connections are in use")
