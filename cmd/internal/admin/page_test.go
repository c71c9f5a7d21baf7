package admin

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"

	"gatemilter/cmd/internal/lab/browser"
	"gatemilter/milter"
)

// A look is a size of the window, and the colours that the user likes.
type look struct {
	width  int
	colour string
}

// show opens a page.
func (l look) show(b *browser.Browser, url string) {
	b.Look(l.width, l.colour)
	b.Open(url)
}

var looks = []look{{360, "light"}, {360, "dark"}, {768, "light"}, {1280, "light"}, {1280, "dark"}}

// TestS6PageFits: in no look, with no message open or some, or of a daemon that only begins, does anything stick out of the window, and
// all text can be told from what is behind it (WCAG 2.2, 1.4.3). SCREENSHOTS=DIR keeps what it looks like.
func TestS6PageFits(t *testing.T) {
	b := browser.Start(t)
	url, fresh := serve(t, eventful(t)), serve(t, newMonitor((&clock{began}).now, "v1.2.3", func() uint64 { return 0 }))
	for _, l := range looks {
		for name, open := range map[string]bool{"closed": false, "open": true, "fresh": false} {
			page := url
			if name == "fresh" {
				page = fresh
			}
			name := fmt.Sprintf("%d-%s-%s", l.width, l.colour, name)
			l.show(b, page)
			if err := chromedp.Do(b.Context, chromedp.Evaluate[chromedp.Void](fmt.Sprintf("document.querySelectorAll('details').forEach((d, i) => d.open = %v && i < 8)", open))); err != nil {
				t.Fatal(err)
			}
			if misfits := b.Misfits(); len(misfits) > 0 {
				t.Errorf("%s: %q", name, misfits)
			}
			b.Screenshot(name)
		}
	}
	if complaints := b.Complaints(); len(complaints) > 0 {
		t.Errorf("the browser complains: %q", complaints)
	}
}

// TestS6PageTells: what a browser makes of the page is what the daemon has done.
func TestS6PageTells(t *testing.T) {
	b := browser.Start(t)
	look{1280, "light"}.show(b, serve(t, eventful(t)))
	same := func(what, expression string, want []string) {
		t.Helper()
		if diff := cmp.Diff(want, browser.Evaluate[[]string](b, expression)); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	texts := func(selector string) string {
		return `[...document.querySelectorAll('` + selector + `')].map(e => e.innerText.replace(/\s+/g, ' ').trim())`
	}
	same("header", texts("header h1, header .badge"), []string{"gatemilter", "serving", "enforce"})
	same("notices", texts(".notice h2"), []string{"The last reload was refused", "1 setting of the configuration is doubtful", "The database of identities can’t be used"})
	same("identities", texts("dl.now > div:nth-child(4)"), []string{"Identities 1234 in use 5 pending, 6 disabled, 1 left out, see the log; as of 9 minutes ago"})
	same("gateways", texts("#gateways + table tbody tr"), []string{"filter example.com, example.org, example.net and 1 more 70 5 5", "archive plant.example 1 0 0"})
	same("verdicts", texts("table.bars:first-child tr"), []string{
		"Word Share Messages", "accepted 66", "deferred 1", "rejected 11", "quarantined 5", "failed 5", "not completed 5",
	})
	same("shares of the verdicts", `[...document.querySelectorAll('table.bars')[0].querySelectorAll('rect')].map(r => Math.round(100 * r.getBoundingClientRect().width / r.ownerSVGElement.getBoundingClientRect().width) + '%')`,
		[]string{"100%", "1%", "16%", "7%", "7%", "7%"})
	same("routes", texts("table.route tbody tr"), []string{
		"[a.relay.example]:25 70 % holds what the route demands 29 minutes ago until 30 Apr 2026",
		"[b.relay.example]:25 30 % fails require_ca of route relays fails: the certificate is signed by itself 29 minutes ago ends soon until 6 Mar 2026",
		"[relay-of-last-resort.backup.relay.example]:587 100 %, secondary not looked at yet: that is done when there is mail for it not seen",
		"[exchange.example.com]:25 100 % checked by the mail server, at each delivery not seen",
	})
	same("the newest decisions", texts("summary")+".slice(1, 4)", []string{
		"10:59:00 accepted the null sender via archive", "10:59:00 would be rejected sales@cheap.example inbound from 203.0.113.66", "10:59:03 accepted newsletter@friend.example via filter",
	})
}

// TestS6PageForScreenReaders: what is a table stays one where it is laid out as a list, and has its
// name and headings.
func TestS6PageForScreenReaders(t *testing.T) {
	b := browser.Start(t)
	look{360, "light"}.show(b, serve(t, eventful(t)))
	tree, err := chromedp.Call(b.Context, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for _, n := range tree.Nodes {
		if n.Role != nil && n.Name != nil {
			found[strings.Trim(string(n.Role.Value), `"`)+" "+strings.Trim(string(n.Name.Value), `"`)] = true
		}
	}
	for _, wanted := range []string{
		"heading gatemilter", "navigation Pages", "heading The last reload was refused", "heading The last hour 93 messages",
		"image Messages in each of the last sixty minutes, 9 in the busiest one", "table Verdicts", "rowheader not completed", "table Rules that spoke",
		"table Messages of the last hour by gateway", "columnheader Refused",
		"table relays demands TLS, a trusted authority, any name", "rowheader [a.relay.example]:25", "columnheader Certificate",
	} {
		if !found[wanted] {
			t.Errorf("there is no %q in %q", wanted, slices.Sorted(maps.Keys(found)))
		}
	}
}

// TestS6PageIsBounded: of a message without end, as of messages without end, a part is kept.
func TestS6PageIsBounded(t *testing.T) {
	m, _ := monitored(t, settings)
	for range 3 * maxDecisions {
		m.Message(throughGateway(hostile, func(r *milter.Record) {
			for i := range 1000 {
				reason := r.Verdict.Reasons[0]
				reason.Text = fmt.Sprint(i, reason.Text)
				r.Verdict.Reasons = append(r.Verdict.Reasons, reason)
			}
		}))
	}
	if _, page := get(t, serve(t, m)+"/"); len(page) > maxDecisions*maxSteps*3*maxText || strings.Count(page, "<details>") != maxDecisions {
		t.Errorf("%d octets, %d decisions", len(page), strings.Count(page, "<details>"))
	}
}

// TestS6PageIsSafe: nothing that a peer writes becomes part of the page's structure, and nothing
// that is secret or of the message itself is in it.
func TestS6PageIsSafe(t *testing.T) {
	b := browser.Start(t)
	url := serve(t, eventful(t))
	look{1280, "light"}.show(b, url)
	if got := browser.Evaluate[[]string](b, "[document.title, ...[...document.querySelectorAll('script, img, link, iframe, object, form, [onerror], [style]')].map(e => e.outerHTML)]"); len(got) != 1 || got[0] != "gatemilter" {
		t.Errorf("title and foreign elements: %q", got)
	}
	if got := browser.Evaluate[[]string](b, "performance.getEntriesByType('resource').map(r => r.name).filter(n => !n.endsWith('/favicon.ico'))"); len(got) > 0 {
		t.Errorf("the page has fetched %q", got)
	}
	if complaints := b.Complaints(); len(complaints) > 0 {
		t.Errorf("the browser complains: %q", complaints)
	}
	_, text := get(t, url+"/")
	for _, foreign := range append(secrets, "\u202e", "\x1b", "\x00", "user@example.com", strings.Repeat("W", maxText)) {
		if strings.Contains(text, foreign) {
			t.Errorf("%q is in the page", foreign)
		}
	}
	if !strings.Contains(text, `\u202e`) {
		t.Error("what was escaped is not shown")
	}
}

// TestS6PageByKeyboard: Tab goes to the skip link, the pages and each decision, which Enter opens.
func TestS6PageByKeyboard(t *testing.T) {
	b := browser.Start(t)
	look{360, "light"}.show(b, serve(t, eventful(t)))
	var stops []string
	for range 5 {
		if err := chromedp.Do(b.Context, chromedp.KeyEvent(kb.Tab)); err != nil {
			t.Fatal(err)
		}
		stops = append(stops, browser.Evaluate[string](b, "document.activeElement.tagName + ' ' + (document.activeElement.getAttribute('href') || '')"))
	}
	if diff := cmp.Diff([]string{"A #decisions", "A /", "A /metrics", "A /readyz", "SUMMARY "}, stops); diff != "" {
		t.Error(diff)
	}
	if err := chromedp.Do(b.Context, chromedp.KeyEvent(kb.Enter)); err != nil {
		t.Fatal(err)
	}
	if !browser.Evaluate[bool](b, "document.querySelector('details').open && document.querySelector('details .steps').getBoundingClientRect().height > 0") {
		t.Error("Enter does not open the first decision")
	}
	if misfits := b.Misfits(); len(misfits) > 0 {
		t.Errorf("%q", misfits)
	}
}
