package portal

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatemilter/milter/tlsprobe"
)

var placeholder = regexp.MustCompile(`\{[a-z]+\}`)

// Each language has every text, and in it the same placeholders.
func TestCatalogues(t *testing.T) {
	for _, s := range speaks[1:] {
		if diff := cmp.Diff(slices.Sorted(maps.Keys(english)), slices.Sorted(maps.Keys(s.texts))); diff != "" {
			t.Errorf("%s: %s", s.Tag, diff)
		}
		for key, text := range s.texts {
			sorted := func(text string) []string {
				return slices.Compact(slices.Sorted(slices.Values(placeholder.FindAllString(text, -1))))
			}
			if diff := cmp.Diff(sorted(english[key]), sorted(text)); diff != "" {
				t.Errorf("%s %s: %s", s.Tag, key, diff)
			}
			if text == "" || strings.TrimSpace(text) != text && !strings.HasPrefix(key, "mail.") || strings.Contains(text, "  ") && !strings.HasPrefix(key, "mail.") {
				t.Errorf("%s %s: %q", s.Tag, key, text)
			}
			if text == english[key] && strings.Count(text, " ") > 1 && !strings.HasPrefix(key, "port.") {
				t.Errorf("%s %s is not translated: %q", s.Tag, key, text)
			}
			if strings.HasPrefix(key, "mail.") {
				for line := range strings.SplitSeq(text, "\n") {
					if len(line) > 80 {
						t.Errorf("%s %s: a line of %d octets: %q", s.Tag, key, len(line), line)
					}
				}
			}
		}
	}
}

// Each problem of a server's has its own words, and what to do.
func TestEveryProblemHasWords(t *testing.T) {
	problems := constants(t, filepath.Join("..", "..", "..", "milter", "tlsprobe", "report.go"), "Problem")
	if len(problems) < 25 {
		t.Fatalf("only %q are found", problems)
	}
	for _, p := range append(problems, "login-later", "letter-later", "app-password") {
		if p == string(tlsprobe.ExpiresSoon) { // which is none today
			continue
		}
		for _, part := range []string{".title", ".advice"} {
			if english["problem."+p+part] == "" {
				t.Errorf("problem.%s%s is missing", p, part)
			}
		}
	}
}

// constants are the values of the constants of a type.
func constants(t *testing.T, file, kind string) (list []string) {
	t.Helper()
	for _, d := range must(parser.ParseFile(token.NewFileSet(), file, nil, 0)).Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			if v := s.(*ast.ValueSpec); v.Type != nil && v.Type.(*ast.Ident).Name == kind {
				list = append(list, must(strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)))
			}
		}
	}
	return list
}

// Every text that is asked for is there, and all that are there are asked for.
func TestEveryTextIsUsed(t *testing.T) {
	var source strings.Builder
	for _, pattern := range []string{"*.go", "pages/*.html"} {
		for _, name := range must(filepath.Glob(pattern)) {
			if !strings.HasPrefix(name, "texts_") && !strings.HasSuffix(name, "_test.go") {
				source.Write(must(os.ReadFile(name)))
			}
		}
	}
	text := source.String()
	asked := regexp.MustCompile(`(?:lang\.t|lang\.html|\.T|\.H)\(? ?"([a-zA-Z0-9.]+)"`).FindAllStringSubmatch(text, -1)
	for _, m := range asked {
		if _, ok := english[m[1]]; !ok && !strings.HasSuffix(m[1], ".") {
			t.Errorf("%q is asked for, but there is no such text", m[1])
		}
	}
	made := regexp.MustCompile(`^(problem|login\.(username|password)\.(missing|bad)|port|suggest|hint)\b`) // of parts
	for key := range english {
		stem := strings.TrimSuffix(strings.TrimSuffix(key, ".title"), ".text")
		if !made.MatchString(key) && !strings.Contains(text, `"`+key+`"`) && !strings.Contains(text, `"`+stem+`"`) {
			t.Errorf("%q is never used", key)
		}
	}
}

// The language is that which is chosen, or the browser's, or English.
func TestLanguage(t *testing.T) {
	s := newStage(t)
	for header, want := range map[string]string{
		"": "en", "de": "de", "de-AT,en;q=0.5": "de", "it-CH": "it", "pl": "pl", "fr": "en", "fr, pl;q=0.3": "pl", "ja, *;q=0.1": "en", "en-GB, de": "en", ";;;,": "en", strings.Repeat("x-", 3000): "en",
		strings.Repeat("xx,", 2000) + "de": "en",
	} {
		b := s.browser()
		b.header.Set("Accept-Language", header)
		page := b.get("/login")
		if !strings.Contains(page.text, `<html lang="`+want+`">`) || page.Header.Get("Content-Language") != want {
			t.Errorf("%.40q: %s, want %s", header, page.Header.Get("Content-Language"), want)
		}
	}
	b := s.browser()
	b.header.Set("Accept-Language", "de")
	b.get("/login").has(t, "Benutzername", "English", "Polski")
	b.get("/login?lang=it").has(t, "Nome utente")
	b.get("/login").has(t, "Nome utente")
	b.get("/login?lang=xx").has(t, "Nome utente")
	b.get("/login?lang=de&next=/confirm%3Faddress%3Da%40b.example").has(t, "Benutzername")
	if page := b.get("/login?next=/help"); !strings.Contains(page.text, `href="/addresses/login?lang=pl&amp;next=%2Fhelp"`) {
		t.Error("the links for other languages lose where the user wanted to go")
	}
}

// What is put into a text is not taken for a part of it, nor for HTML.
func TestFilling(t *testing.T) {
	s := &spoken{texts: catalogue{"x": "<b> {a} & {b}"}}
	if got := s.t("x", "a", "{b}", "b", "<i>"); got != "<b> {b} & <i>" {
		t.Errorf("%q", got)
	}
	if got := s.html("x", "a", "{b}", "b", `<i>"`); got != "&lt;b&gt; <strong><bdi>{b}</bdi></strong> &amp; <strong><bdi>&lt;i&gt;&#34;</bdi></strong>" {
		t.Errorf("%q", got)
	}
}
