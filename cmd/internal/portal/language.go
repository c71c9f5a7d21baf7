package portal

import (
	"fmt"
	"html"
	"html/template"
	"strings"

	"golang.org/x/text/language"
)

// A catalogue has all texts of a language, by key. Names in braces are placeholders.
type catalogue map[string]string

// A spoken is a language that the portal speaks.
type spoken struct {
	Tag   string // as in the attribute lang
	Name  string // by which its speakers know it
	texts catalogue
}

// speaks are the languages; the first is for who speaks none of them.
var speaks = []*spoken{
	{"en", "English", english},
	{"it", "Italiano", italian},
	{"de", "Deutsch", german},
	{"pl", "Polski", polish},
}

var matcher = func() language.Matcher {
	var tags []language.Tag
	for _, s := range speaks {
		tags = append(tags, language.MustParse(s.Tag))
	}
	return language.NewMatcher(tags)
}()

// languageLife is how long a choice is remembered, in seconds.
const languageLife = 365 * 24 * 3600

// chooseLanguage takes the language that is asked for by a link, or was before, or that the
// browser prefers.
func (v *visit) chooseLanguage() {
	if s := speaker(v.query("lang")); s != nil {
		v.setCookie(v.w, languageCookie, s.Tag, languageLife)
		v.lang = s
		return
	}
	if v.lang = speaker(v.cookie(v.r, languageCookie)); v.lang != nil {
		return
	}
	v.lang = speaks[0]
	if tags, _, err := language.ParseAcceptLanguage(v.r.Header.Get("Accept-Language")); err == nil {
		_, i, confidence := matcher.Match(tags...)
		if confidence > language.No {
			v.lang = speaks[i]
		}
	}
}

// speaker returns the language of a tag, or nil.
func speaker(tag string) *spoken {
	for _, s := range speaks {
		if s.Tag == tag {
			return s
		}
	}
	return nil
}

// t is a text, with values for its placeholders: name and value in turn.
func (s *spoken) t(key string, values ...any) string {
	return s.fill(key, func(text string) string { return text }, func(value string) string { return value }, values)
}

// html is a text in which the values stand out.
func (s *spoken) html(key string, values ...any) template.HTML {
	return template.HTML(s.fill(key, html.EscapeString, func(value string) string {
		return "<strong><bdi>" + html.EscapeString(value) + "</bdi></strong>"
	}, values))
}

func (s *spoken) fill(key string, text, value func(string) string, values []any) string {
	var pairs []string
	for i := 0; i+1 < len(values); i += 2 {
		filled := fmt.Sprint(values[i+1])
		switch values[i] {
		case "address", "account", "server":
			filled = inLetters(filled)
		}
		pairs = append(pairs, fmt.Sprintf("{%v}", values[i]), value(filled))
	}
	// The braces are the same when escaped, and what was put in is not looked at again.
	return strings.NewReplacer(pairs...).Replace(text(s.texts[key]))
}
