package browser

// Misfits are what is wrong with how the page looks, and what it says to a screen reader: what sticks out of the window,
// texts that can't be told from what is behind them, fields without a label, and the like.
func (b *Browser) Misfits() (all []string) {
	b.t.Helper()
	for _, f := range faults {
		for _, found := range Evaluate[[]string](b, f.expression) {
			all = append(all, f.what+": "+found)
		}
	}
	return all
}

// faults are what pages must not have.
var faults = []struct{ what, expression string }{
	{"sticks out", stickingOut},
	{"hard to read (WCAG 2.2, 1.4.3)", paleText},
	{"without a name or a scope", `[...document.querySelectorAll('table:not(:has(caption)), th:not([scope]), svg:not([aria-hidden]):not([aria-label]), section:not([aria-labelledby])')].map(e => e.outerHTML.slice(0, 100))`},
	{"fields without a label", `[...document.querySelectorAll('input:not([type=hidden]), select, textarea')].filter(e => !e.labels.length || !e.labels[0].innerText.trim()).map(e => e.outerHTML)`},
	{"descriptions that are missing", `[...document.querySelectorAll('[aria-describedby], [aria-labelledby]')].flatMap(e => ((e.getAttribute('aria-describedby') || '') + ' ' + (e.getAttribute('aria-labelledby') || '')).split(' ')).filter(id => id && !document.getElementById(id))`},
	{"links to nowhere", `[...document.querySelectorAll('a[href^="#"]')].map(e => e.getAttribute('href').slice(1)).filter(id => !document.getElementById(id))`},
	{"the same id twice", `[...document.querySelectorAll('[id]')].map(e => e.id).filter((id, i, all) => all.indexOf(id) !== i)`},
	{"controls without a name", `[...document.querySelectorAll('a, button, summary')].filter(e => !e.textContent.trim()).map(e => e.outerHTML)`},
	{"pictures without a text", `[...document.querySelectorAll('img:not([alt])')].map(e => e.outerHTML)`},
	{"other than one heading of the first level", `document.querySelectorAll('h1').length === 1 ? [] : [...document.querySelectorAll('h1')].map(e => e.innerText).concat('counted')`},
	{"skipped heading levels", `[...document.querySelectorAll('main h1, main h2, main h3')].map(e => +e.tagName[1]).filter((n, i, all) => i && n > all[i - 1] + 1).map(String)`},
}

const stickingOut = `document.documentElement.scrollWidth <= document.documentElement.clientWidth ? [] :
	[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth).slice(0, 5).map(e => e.outerHTML.slice(0, 100)).concat('the page')`

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
