package admin

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"gatemilter/cmd/internal/web"
	"gatemilter/policy"
)

//go:embed page.html
var pageText string

//go:embed page.css
var style string

// styleSource is for our style sheet, which is part of the page.
var styleSource = web.StyleSource(style)

// pageTemplate escapes whatever is put into it. The style sheet is ours, and constant.
var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"style":   func() template.CSS { return template.CSS(style) },
	"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"day":     func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04") },
	"clock":   func(t time.Time) string { return t.UTC().Format("15:04:05") },
	"ago":     ago,
	"took":    took,
	"past":    past,
	"count":   count,
	"bars":    func(title string, bars []bar) barsView { return barsView{title, bars} },
	"meaning": func(rule string) string { return policy.Code(rule).Meaning() },
}).Parse(pageText))

func (m *Monitor) servePage(w http.ResponseWriter, _ *http.Request) {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, m.view()); err != nil {
		writeText(w, http.StatusInternalServerError, "the page can't be shown, please report it\n")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(b.Bytes())
}

type barsView struct {
	Title string
	Bars  []bar
}

// past says what became of a message; in mode observe, what would have.
func past(outcome string, observed bool) string {
	word := map[string]string{
		policy.Accept.String(): "accepted", policy.TempFail.String(): "deferred", policy.Reject.String(): "rejected",
		policy.Quarantine.String(): "quarantined", policy.Discard.String(): "discarded",
		outcomeError: "failed", outcomeAborted: "not completed",
	}[outcome]
	if observed && outcome != policy.Accept.String() {
		return "would be " + word
	}
	return word
}

// ago says how long something has lasted, in its largest unit or two.
func ago(t, now time.Time) string {
	switch d := now.Sub(t); {
	case d < time.Minute:
		return count(int(max(d, 0)/time.Second), "second")
	case d < time.Hour:
		return count(int(d/time.Minute), "minute")
	case d < 48*time.Hour:
		return fmt.Sprintf("%s %d min", count(int(d/time.Hour), "hour"), d/time.Minute%60)
	default:
		return count(int(d/(24*time.Hour)), "day")
	}
}

// took writes how long a decision lasted.
func took(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func count(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}
