package admin

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"

	"gatemilter/cmd/internal/lab"
	"gatemilter/milter"
)

// browser starts Chromium, whose context ends with the test. It collects what the page's
// Content-Security-Policy forbade, and other complaints.
func browser(t *testing.T) (ctx context.Context, complaints *[]string) {
	t.Helper()
	if err := lab.NeedPackages(t.Context(), t.Logf, "chromium"); err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("/usr/bin/chromium"), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-dev-shm-usage", true))
	ctx, cancelAll := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(ctx)
	whole := ctx
	t.Cleanup(func() {
		if err := chromedp.Cancel(whole); err != nil {
			t.Error(err)
		}
		cancel()
		cancelAll()
	})
	// The browser begins with the first action, whose context must have no limit.
	if _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	complaints = new([]string)
	err := chromedp.Listen(ctx, func(event any) {
		if e, ok := event.(*log.EventEntryAdded); ok && !strings.Contains(e.Entry.URL, "favicon") {
			*complaints = append(*complaints, e.Entry.Text)
		}
		if _, ok := event.(*page.EventJavascriptDialogOpening); ok {
			*complaints = append(*complaints, "a script ran")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancelTime := context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancelTime)
	return ctx, complaints
}

// A look is a size of the window, and the colours that the user likes.
type look struct {
	width  int64
	colour string
}

// show opens a page.
func (l look) show(t *testing.T, ctx context.Context, url string) {
	t.Helper()
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.colour}}}
	err := chromedp.Do(ctx, chromedp.EmulateViewport(l.width, 900))
	if err == nil {
		_, err = chromedp.Call(ctx, emulation.SetEmulatedMedia, media)
	}
	if err == nil {
		err = chromedp.Do(ctx, chromedp.Navigate(url))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// evaluate returns the value of an expression in the page.
func evaluate[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

var looks = []look{{360, "light"}, {360, "dark"}, {768, "light"}, {1280, "light"}, {1280, "dark"}}

// TestS6PageFits: in no look, with no message open or some, or of a daemon that only begins, does anything stick out of the window, and
// all text can be told from what is behind it (WCAG 2.2, 1.4.3). SCREENSHOTS=DIR keeps what it looks like.
func TestS6PageFits(t *testing.T) {
	ctx, complaints := browser(t)
	url, fresh := serve(t, eventful(t)), serve(t, newMonitor((&clock{began}).now, "v1.2.3", func() uint64 { return 0 }))
	for _, l := range looks {
		for name, open := range map[string]bool{"closed": false, "open": true, "fresh": false} {
			page := url
			if name == "fresh" {
				page = fresh
			}
			name := fmt.Sprintf("%d-%s-%s", l.width, l.colour, name)
			l.show(t, ctx, page)
			if err := chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](fmt.Sprintf("document.querySelectorAll('details').forEach((d, i) => d.open = %v && i < 8)", open))); err != nil {
				t.Fatal(err)
			}
			if size := evaluate[[2]int](t, ctx, "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"); size[0] > size[1] || size[1] != int(l.width) {
				t.Errorf("%s: the page is %d wide in a window of %d: %q", name, size[0], size[1], evaluate[[]string](t, ctx, stickingOut))
			}
			if pale := evaluate[[]string](t, ctx, paleText); len(pale) > 0 {
				t.Errorf("%s: hard to read: %q", name, pale)
			}
			screenshot(t, ctx, name)
		}
	}
	if len(*complaints) > 0 {
		t.Errorf("the browser complains: %q", *complaints)
	}
}

const stickingOut = `[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth).slice(0, 5).map(e => e.outerHTML.slice(0, 100))`

// paleText lists texts whose contrast with their background is below 4.5.
const paleText = `(() => {
	const rgb = c => c.match(/[\d.]+/g).map(Number);
	const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
	const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
	const pale = new Set();
	for (const e of document.querySelectorAll('body *')) {
		if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
		const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
		if ((a + .05) / (b + .05) < 4.5) pale.add(e.tagName + '.' + e.className + ' ' + ((a + .05) / (b + .05)).toFixed(1));
	}
	return [...pale];
})()`

// screenshot keeps a picture of the whole page, where somebody wants to look at it.
func screenshot(t *testing.T, ctx context.Context, name string) {
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestS6PageTells: what a browser makes of the page is what the daemon has done.
func TestS6PageTells(t *testing.T) {
	ctx, _ := browser(t)
	look{1280, "light"}.show(t, ctx, serve(t, eventful(t)))
	same := func(what, expression string, want []string) {
		t.Helper()
		if diff := cmp.Diff(want, evaluate[[]string](t, ctx, expression)); diff != "" {
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
	ctx, _ := browser(t)
	look{360, "light"}.show(t, ctx, serve(t, eventful(t)))
	tree, err := chromedp.Call(ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
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
	ctx, complaints := browser(t)
	url := serve(t, eventful(t))
	look{1280, "light"}.show(t, ctx, url)
	if got := evaluate[[]string](t, ctx, "[document.title, ...[...document.querySelectorAll('script, img, link, iframe, object, form, [onerror], [style]')].map(e => e.outerHTML)]"); len(got) != 1 || got[0] != "gatemilter" {
		t.Errorf("title and foreign elements: %q", got)
	}
	if got := evaluate[[]string](t, ctx, "performance.getEntriesByType('resource').map(r => r.name).filter(n => !n.endsWith('/favicon.ico'))"); len(got) > 0 {
		t.Errorf("the page has fetched %q", got)
	}
	if len(*complaints) > 0 {
		t.Errorf("the browser complains: %q", *complaints)
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
	ctx, _ := browser(t)
	look{360, "light"}.show(t, ctx, serve(t, eventful(t)))
	var stops []string
	for range 5 {
		if err := chromedp.Do(ctx, chromedp.KeyEvent(kb.Tab)); err != nil {
			t.Fatal(err)
		}
		stops = append(stops, evaluate[string](t, ctx, "document.activeElement.tagName + ' ' + (document.activeElement.getAttribute('href') || '')"))
	}
	if diff := cmp.Diff([]string{"A #decisions", "A /", "A /metrics", "A /readyz", "SUMMARY "}, stops); diff != "" {
		t.Error(diff)
	}
	if err := chromedp.Do(ctx, chromedp.KeyEvent(kb.Enter)); err != nil {
		t.Fatal(err)
	}
	if !evaluate[bool](t, ctx, "document.querySelector('details').open && document.querySelector('details .steps').getBoundingClientRect().height > 0") {
		t.Error("Enter does not open the first decision")
	}
	if got := evaluate[[]string](t, ctx, "[...document.querySelectorAll('table:not(:has(caption)), th:not([scope]), svg:not([aria-hidden]):not([aria-label]), section:not([aria-labelledby])')].map(e => e.outerHTML.slice(0, 80))"); len(got) > 0 {
		t.Errorf("without a name or a scope: %q", got)
	}
}
