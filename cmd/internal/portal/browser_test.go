package portal

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"gatemilter/cmd/internal/lab"
	chromium "gatemilter/cmd/internal/lab/browser"
)

// A person sits before Chromium, and uses only the keyboard.
type person struct {
	*stage
	*chromium.Browser
	prefix string // of the names of pictures
}

// withTLS gives the portal a certificate of its own, and the name that it has for users.
func withTLS(s *stage, o *Options) {
	pair := s.cert("mail.example.com")
	file := filepath.Join(s.t.TempDir(), "portal.pem")
	if err := pair.WriteFile(file); err != nil {
		s.t.Fatal(err)
	}
	at := must(url.Parse(o.Config.URL))
	o.Config.Certificate, o.Config.Key = file, file
	o.Config.URL = "https://mail.example.com:" + at.Port() + "/addresses"
}

// person starts a browser that prefers a language.
func (s *stage) person(language string) *person {
	s.t.Helper()
	p := &person{stage: s, Browser: chromium.Start(s.t, chromedp.IgnoreCertErrors, chromedp.Flag("host-resolver-rules", "MAP mail.example.com 127.0.0.1"),
		chromedp.Flag("accept-lang", language), chromedp.Flag("hide-scrollbars", true))}
	if _, err := chromedp.Call(p.Context, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}); err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (p *person) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.Context, steps...); err != nil {
		p.t.Fatal(err)
	}
}

func ask[T any](p *person, expression string) T {
	p.t.Helper()
	return chromium.Evaluate[T](p.Browser, expression)
}

// focus presses Tab until an element that a selector matches has the focus.
func (p *person) focus(selector string) {
	p.t.Helper()
	for range 80 {
		if ask[bool](p, fmt.Sprintf("document.activeElement.matches(%q)", selector)) {
			if !ask[bool](p, "getComputedStyle(document.activeElement).outlineStyle !== 'none'") {
				p.t.Errorf("%s has the focus, but nobody sees it", selector)
			}
			return
		}
		p.do(chromedp.KeyEvent(kb.Tab))
	}
	p.t.Fatalf("the keyboard doesn't lead to %s in %s", selector, ask[string](p, "document.body.innerText"))
}

// until waits for a condition in the page.
func (p *person) until(condition string) {
	p.t.Helper()
	script := "new Promise(done => { const look = () => (" + condition + ") ? done(true) : setTimeout(look, 10); look(); })"
	if _, err := chromedp.Run(p.Context, chromedp.Evaluate[bool](script, chromedp.EvalAwaitPromise)); err != nil {
		p.t.Fatal(err)
	}
}

// enter writes into a field, in place of what is there.
func (p *person) enter(name, text string) {
	p.t.Helper()
	p.focus("#" + name)
	p.do(chromedp.KeyEvent("a", chromedp.KeyModifiers(2)), chromedp.KeyEvent(kb.Delete), chromedp.KeyEvent(text))
	if got := ask[string](p, fmt.Sprintf("document.getElementById(%q).value", name)); got != text {
		p.t.Fatalf("%s has %q, not %q", name, got, text)
	}
}

// press activates a link or a button, and waits for the next page.
func (p *person) press(selector string) {
	p.t.Helper()
	p.focus(selector)
	if _, err := chromedp.RunResponse(p.Context, chromedp.KeyEvent(kb.Enter)); err != nil {
		p.t.Fatal(err)
	}
}

// sees looks for texts on the page.
func (p *person) sees(texts ...string) {
	p.t.Helper()
	page := strings.Join(strings.Fields(ask[string](p, "document.title + ' ' + document.body.innerText")), " ")
	for _, text := range texts {
		if !strings.Contains(page, text) {
			p.t.Errorf("%q is not on the page: %s", text, page)
		}
	}
}

// looks are the windows in which pages are looked at, and those of which pictures are made.
var looks = []struct {
	width   int
	colour  string
	picture bool
}{{390, "light", true}, {1280, "light", true}, {390, "dark", true}, {1280, "dark", false}, {320, "light", false}}

// look looks at the page in all windows: does it fit, can everything be read, has everything a
// name? SCREENSHOTS=DIR keeps the pictures.
func (p *person) look(name string) {
	p.t.Helper()
	for _, l := range looks {
		name := fmt.Sprintf("%s%s-%d-%s", p.prefix, name, l.width, l.colour)
		p.Look(l.width, l.colour)
		misfits := p.Misfits()
		for _, f := range faults {
			for _, found := range ask[[]string](p, f.expression) {
				misfits = append(misfits, f.what+": "+found)
			}
		}
		if len(misfits) > 0 {
			p.t.Errorf("%s: %q", name, misfits)
		}
		if l.picture {
			p.Screenshot(name)
		}
	}
	p.Look(390, "light")
}

// faults are what these pages must not have, beside what none must have.
var faults = []struct{ what, expression string }{
	{"too small to hit (WCAG 2.2, 2.5.8)", `[...document.querySelectorAll('button, .button, input:not([type=hidden]), nav a, summary')].filter(e => e.offsetParent && (e.getBoundingClientRect().height < (e.type === 'radio' ? 20 : 36) || e.getBoundingClientRect().width < 20)).map(e => e.outerHTML.slice(0, 120))`},
	{"texts that are missing", `[...document.querySelectorAll('body *')].filter(e => [...e.childNodes].some(n => n.nodeType === 3 && /\{[a-z]+\}/.test(n.textContent))).map(e => e.outerHTML.slice(0, 120))`},
	{"scripts and styles of elements", `[...document.querySelectorAll('script, [style], [onclick], iframe, object')].map(e => e.outerHTML.slice(0, 120))`},
}

// U1, U2, U3, in a real browser and with the keyboard alone: log in, add an address, a wrong
// password, a wrong certificate, the code from the mailbox, active.
func TestBrowser(t *testing.T) {
	s := newStage(t, withTLS)
	partner := s.partner()
	wrong := s.sink(lab.SinkConfig{Cert: s.cert("mail.other.example", "smtp.other.example"), Logins: map[string]string{"alice@partner.example": partnersSecret}})
	s.provider("smtp.wrong.example", otherIP, 587, wrong)
	p := s.person("en")

	p.Open(s.url + "/")
	p.sees("Log in", "User name")
	p.look("01-login")
	p.enter("username", "alice@example.com")
	p.enter("password", "not the password")
	p.press("form.card button")
	p.sees("User name and password do not match")
	p.look("02-login-wrong")
	p.enter("password", alicesPassword)
	p.press("form.card button")
	p.sees("My addresses", "You have not added any address yet")
	p.look("03-empty")

	p.press("main a.button")
	p.look("04-add")
	p.enter("address", "alice@example")
	p.press("form.card button")
	p.sees("Error:", "This is not a complete mail address")
	p.look("05-add-wrong")
	// (Of Enter, the second half would already come to the field, and send the form.)
	p.focus(".notice a[href='#address']")
	p.do(chromedp.Evaluate[chromedp.Void]("document.activeElement.click()"))
	p.until("location.hash === '#address' && document.querySelector('#address:target')")
	p.enter("address", "alice@partner.example")
	p.enter("name", "Alice Liddell")
	p.press("form.card button")
	p.sees("The mail server of your address", "We found a server that could be the right one")
	p.look("06-server")

	p.enter("host", "smtp.wrong.example")
	p.focus("#port")
	p.do(chromedp.KeyEvent(kb.ArrowDown)) // from 465 to 587
	p.enter("password", partnersSecret)
	p.press("form.card button")
	p.sees("The certificate is for another server than smtp.wrong.example", "mail.other.example")
	p.look("07-certificate")
	if len(wrong.Attempts()) > 0 {
		t.Errorf("the password went to the wrong server: %+v", wrong.Attempts())
	}
	p.enter("host", "smtp.partner.example")
	p.enter("password", "a wrong password")
	p.press("form.card button")
	p.sees("smtp.partner.example does not accept user name and password", "535 5.7.8")
	p.look("08-password")
	p.enter("password", partnersSecret)
	p.press("form.card button")
	p.sees("Enter the code", "A message with a code is on its way to alice@partner.example")
	p.look("09-code")
	p.press("header nav a")
	p.sees("Waiting for the code")
	p.look("10-pending")

	// The link from the message, and a code that is wrong.
	p.Open(s.url + "/confirm?address=alice%40partner.example&code=AAAAA-AAAAA")
	p.press("form.card button")
	p.sees("This is not the code")
	p.look("11-code-wrong")
	p.Open(s.url + "/confirm?address=alice%40partner.example&code=" + lastCode(t, partner))
	p.press("form.card button")
	p.sees("alice@partner.example is active", "Goes out through smtp.partner.example:587")
	p.press("header nav a")

	// Others of all kinds.
	p.others()
	p.press("header nav a")
	p.look("12-list")
	p.press("form[action$='/test'] button")
	p.sees("Everything works")
	p.look("13-test")
	s.provider("smtp.partner.example", partnerIP, 587, wrong)
	p.press("form[action$='/test'] button")
	p.sees("The certificate is for another server")
	p.look("14-test-bad")
	s.provider("smtp.partner.example", partnerIP, 587, partner)
	p.press("main a[href*='/change']")
	if got := ask[string](p, "document.querySelector('#password').value"); got != "" {
		t.Errorf("the password comes back: %q", got)
	}
	p.look("15-change")
	p.enter("name", "Alice")
	p.press("form.card button")
	p.sees("are saved and in force")
	p.press("main a[href*='/remove']")
	p.look("16-remove")
	p.press("form.card a, .card form a")
	p.press("header a[href$='/help']")
	p.look("17-help")
	s.note(func() { s.facts.AllowUserGateways, s.facts.Observe = false, true })
	p.press("header nav a")
	p.sees("Active, server not used", "does not allow mail servers of your own", "trial mode")
	p.look("18-not-allowed")
	p.press("main a.button[href$='/add']")
	p.look("19-add-not-allowed")
	s.store.Close()
	p.press("header nav a")
	p.sees("cannot be read or changed at present", "Your mail is not affected")
	p.look("20-database-away")
	p.Open(s.url + "/nothing")
	p.look("21-not-found")
	p.press("header nav button")
	p.sees("You are logged out")

	if cookies := ask[string](p, "document.cookie"); cookies != "" {
		t.Errorf("a script sees %q", cookies)
	}
	if len(p.Complaints()) > 0 {
		t.Errorf("the browser complains: %q", p.Complaints())
	}
}

// others puts addresses of all states into alice's list.
func (p *person) others() {
	p.t.Helper()
	ctx, login := p.t.Context(), "alice@example.com"
	record := func(address string) {
		r := p.record(p.t, login, "alice@partner.example")
		r.Address, r.State, r.Name = address, 0, ""
		if err := p.store.Add(ctx, "test", r); err != nil {
			p.t.Fatal(err)
		}
	}
	record("vorstand@a-very-long-name-of-a-club-that-nobody-would-shorten.example")
	record("zoe@old.example")
	if err := p.store.Disable(ctx, "test", login, "zoe@old.example"); err != nil {
		p.t.Fatal(err)
	}
}

// Each page in each language: texts of other lengths must fit, too.
func TestBrowserLanguages(t *testing.T) {
	for _, language := range []string{"de", "it", "pl"} {
		t.Run(language, func(t *testing.T) {
			s := newStage(t, withTLS)
			partner := s.partner()
			p := s.person(language)
			p.prefix = language + "-"
			p.Open(s.url + "/add")
			if got := ask[string](p, "document.documentElement.lang"); got != language {
				t.Fatalf("the language is %q", got)
			}
			p.look("01-login")
			p.enter("username", "alice@example.com")
			p.enter("password", alicesPassword)
			p.press("form.card button")
			p.look("04-add")
			p.enter("address", "alice@partner.example")
			p.press("form.card button")
			p.look("06-server")
			p.focus("#port")
			p.do(chromedp.KeyEvent(kb.ArrowDown))
			p.enter("password", "wrong")
			p.press("form.card button")
			p.look("08-password")
			p.enter("password", partnersSecret)
			p.press("form.card button")
			p.look("09-code")
			p.enter("code", lastCode(t, partner))
			p.press("form.card button")
			p.others()
			p.press("header nav a")
			p.look("12-list")
			p.press("form[action$='/test'] button")
			p.look("13-test")
			p.press("header a[href$='/help']")
			p.look("17-help")
			if len(p.Complaints()) > 0 {
				t.Errorf("the browser complains: %q", p.Complaints())
			}
		})
	}
}
