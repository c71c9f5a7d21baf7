package browser

// Misfits are what is wrong with how the page looks: what sticks out of the window, texts that can't be told from what is
// behind them (WCAG 2.2, 1.4.3), fields without a label, tables and graphics without a name.
func (b *Browser) Misfits() (all []string) {
	b.t.Helper()
	for _, c := range []struct{ what, expression string }{
		{"sticks out: ", stickingOut}, {"hard to read: ", paleText}, {"without a name: ", nameless},
	} {
		for _, found := range Evaluate[[]string](b, c.expression) {
			all = append(all, c.what+found)
		}
	}
	return all
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

const nameless = `[...document.querySelectorAll('table:not(:has(caption)), th:not([scope]), svg:not([aria-hidden]):not([aria-label]), section:not([aria-labelledby]), input:not([type=hidden]):not([type=submit]), select, textarea')]
	.filter(e => !e.labels || e.labels.length === 0 && !e.hasAttribute('aria-label')).map(e => e.outerHTML.slice(0, 100))`
