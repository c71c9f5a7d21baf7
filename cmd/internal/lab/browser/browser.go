// Package browser runs a headless Chromium for tests of pages: it fills in forms as a person
// does, and looks at what a person sees.
package browser

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/chromedp"

	"gatemilter/cmd/internal/lab"
)

// limit is for all that a test does in its browser.
const limit = 4 * time.Minute

// A Browser is one window, which is closed at the end of the test. Its methods end the test where they fail.
type Browser struct {
	// Context is for further actions of chromedp.
	Context context.Context
	t       testing.TB

	mu         sync.Mutex
	complaints []string
}

// Start starts a Chromium, which is installed if it is missing, with further options.
func Start(t testing.TB, more ...chromedp.ExecAllocatorOption) *Browser {
	t.Helper()
	if err := lab.NeedPackages(t.Context(), t.Logf, "chromium"); err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("/usr/bin/chromium"), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-dev-shm-usage", true))
	options = append(options, more...)
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
	b := &Browser{t: t}
	// The browser begins with the first action, whose context must have no limit.
	if _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Listen(ctx, b.heed); err != nil {
		t.Fatal(err)
	}
	var cancelTime func()
	b.Context, cancelTime = context.WithTimeout(ctx, limit)
	t.Cleanup(cancelTime)
	return b
}

// heed notes what the page's Content-Security-Policy forbade, and other complaints.
func (b *Browser) heed(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	// That of a page which says what is wrong with a form is no complaint.
	answered := func(text string) bool {
		return strings.HasPrefix(text, "Failed to load resource: the server responded with a status of")
	}
	if e, ok := event.(*log.EventEntryAdded); ok && !strings.Contains(e.Entry.URL, "favicon") && !answered(e.Entry.Text) {
		b.complaints = append(b.complaints, e.Entry.Text)
	}
	if _, ok := event.(*page.EventJavascriptDialogOpening); ok {
		b.complaints = append(b.complaints, "a script ran")
	}
}

// Complaints are what the browser did not like so far: forbidden by the page's Content-Security-Policy, a server that
// can't be reached, and the like.
func (b *Browser) Complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.complaints)
}

// TrustAll makes the browser take every certificate.
func (b *Browser) TrustAll() {
	b.t.Helper()
	_, err := chromedp.Call(b.Context, security.SetIgnoreCertificateErrors, security.SetIgnoreCertificateErrorsParams{Ignore: true})
	b.must(err)
}

// Look sets the width of the window, and the colours that the user likes: "light" or "dark".
func (b *Browser) Look(width int, colours string) {
	b.t.Helper()
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: colours}}}
	b.must(chromedp.Do(b.Context, chromedp.EmulateViewport(int64(width), 900)))
	_, err := chromedp.Call(b.Context, emulation.SetEmulatedMedia, media)
	b.must(err)
}

// Languages sets the languages that the user likes, as in Accept-Language.
func (b *Browser) Languages(accept string) {
	b.t.Helper()
	_, err := chromedp.Call(b.Context, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": accept}})
	b.must(err)
}

// Open opens a page.
func (b *Browser) Open(url string) {
	b.t.Helper()
	b.must(chromedp.Do(b.Context, chromedp.Navigate(url)))
}

// Evaluate returns the value of an expression in the page.
func Evaluate[T any](b *Browser, expression string) T {
	b.t.Helper()
	value, err := chromedp.Run(b.Context, chromedp.Evaluate[T](expression))
	b.must(err)
	return value
}

// Texts are the texts of the elements that a selector matches, as they are to be seen, blanks run together.
func (b *Browser) Texts(selector string) []string {
	b.t.Helper()
	return Evaluate[[]string](b, "[...document.querySelectorAll("+fmt.Sprintf("%q", selector)+`)].map(e => e.innerText.replace(/\s+/g, ' ').trim())`)
}

// Fill types into the field of that name in place of what is there.
func (b *Browser) Fill(name, value string) {
	b.t.Helper()
	field := fmt.Sprintf("[name=%q]", name)
	b.must(chromedp.Do(b.Context, chromedp.Evaluate[chromedp.Void](fmt.Sprintf("document.querySelector(%q).select()", field)), chromedp.SendKeys(field, value)))
}

// Choose picks the option of that value in the list, or of the radio buttons, of that name.
func (b *Browser) Choose(name, value string) {
	b.t.Helper()
	radio := fmt.Sprintf("input[type=radio][name=%q][value=%q]", name, value)
	if Evaluate[bool](b, fmt.Sprintf("!!document.querySelector(%q)", radio)) {
		b.must(chromedp.Do(b.Context, chromedp.Click(radio)))
		return
	}
	b.must(chromedp.Do(b.Context, chromedp.SetValue(fmt.Sprintf("select[name=%q]", name), value)))
}

// Press clicks the button or link with that text, the first one after the first element that mentions near, and waits for
// the next page. An empty near is the begin of the page.
func (b *Browser) Press(text, near string) {
	b.t.Helper()
	const mark = `(() => {
		const seen = e => e.innerText.replace(/\s+/g, ' ').trim();
		const all = [...document.querySelectorAll('main *, body *')];
		let from = %[2]q ? all.filter(e => seen(e).includes(%[2]q)).at(-1) : document.body;
		for (let e = from; e; e = e.parentElement) {
			const found = [...e.querySelectorAll('button, a, input[type=submit], summary')].find(e => (seen(e) || e.value) === %[1]q);
			if (found) { document.querySelectorAll('[data-press]').forEach(e => delete e.dataset.press); found.dataset.press = 1; return true; }
		}
		return false;
	})()`
	if !Evaluate[bool](b, fmt.Sprintf(mark, text, near)) {
		b.t.Fatalf("there is nothing to press that says %q near %q on the page:\n%s", text, near, strings.Join(b.Texts("body"), "\n"))
	}
	_, err := chromedp.RunResponse(b.Context, chromedp.Click("[data-press]"))
	b.must(err)
}

// Screenshot keeps a picture of the whole page in the directory that the environment names as SCREENSHOTS, if it does.
func (b *Browser) Screenshot(name string) {
	b.t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.Context, chromedp.FullScreenshot(100))
	b.must(err)
	b.must(os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644))
}

func (b *Browser) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("browser: %v", err)
	}
}
