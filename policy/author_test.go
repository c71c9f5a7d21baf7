package policy

import (
	netmail "net/mail"
	"slices"
	"strings"
	"testing"
)

// The longest label and name of the DNS.
var (
	label63 = strings.Repeat("x", 63)
	name253 = strings.Repeat("x.", 126) + "x"
)

// authorDomains returns the domains of the authors, each once.
func authorDomains(from []string) (domains []string, err error) {
	authors, err := Authors(from)
	for _, a := range authors {
		if d := Domain(a.Address); !slices.Contains(domains, d) {
			domains = append(domains, d)
		}
	}
	return domains, err
}

// Names and addresses of authors, as they stand in the field.
func TestAuthorNames(t *testing.T) {
	for from, want := range map[string]Author{
		"a@example.com":                                             {"", "a@example.com"},
		" <A@Example.com>":                                          {"", "A@Example.com"},
		"John Q. Public <j@example.com>":                            {"John Q. Public", "j@example.com"},
		"\"Public,\r\n John\"  (x) <j@example.com>":                 {`"Public, John"`, "j@example.com"},
		"=?utf-8?Q?J=C3=BC?=\n =?utf-8?Q?r?= <\"a b\"@example.com>": {"=?utf-8?Q?J=C3=BC?= =?utf-8?Q?r?=", `"a b"@example.com`},
		"g: j . q @example.com;":                                    {"", "j.q@example.com"},
	} {
		got, err := Authors([]string{from})
		if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%q: %q, %v, want %q", from, got, err, want)
		}
	}
}

// RFC 5322, section 3.6.2, RFC 6532, RFC 6854. want is the domains.
func TestAuthors(t *testing.T) {
	for _, c := range []struct{ from, want string }{
		{"a@example.com", "example.com"},
		{" \t<a@example.com>\t", "example.com"},
		{"Alice <a@example.com>", "example.com"},
		{`"Alice, the \"first\"" <a@example.com>`, "example.com"},
		{`"a@bank.example" <a@example.com>`, "example.com"},
		{"John Q. Public <j@example.com>", "example.com"},
		{"J. <j@example.com>", "example.com"},
		{"[JIRA] (PROJ-1) bot <j@example.com>", "example.com"},
		{"a@example.com (Alice <b@bank.example>)", "example.com"},
		{"(a@bank.example) a@example.com", "example.com"},
		{`((nested (comments)) \) ) a (x) @example.com (y)`, "example.com"},
		{"Alice\r\n <a@example.com>", "example.com"},
		{"Alice\n\t<a@example.com>", "example.com"},
		{"\"Alice\n in two lines\" <a@example.com>", "example.com"},
		{"(a\r\n comment) a@example.com", "example.com"},
		{"a@EXAMPLE.Com", "example.com"},
		{"a@example.com.", "example.com"},
		{`"a b"@example.com`, "example.com"},
		{`a."b c".d@example.com`, "example.com"},
		{"a..b.@example.com", "example.com"},
		{"a+b=c/d@example.com", "example.com"},
		{"=?utf-8?Q?Alice_=40bank=2Eexample?= <a@example.com>", "example.com"},
		{"=?utf-8?B?QWxpY2U=?= =?utf-8?B?Qg==?= <a@example.com>", "example.com"},
		{"Jürgen Ω <jürgen@bücher.example>", "xn--bcher-kva.example"},
		{"J\xfcrgen <j@example.com>", "example.com"},
		{"j\xfcrgen@example.com", "example.com"},
		{"a@b\u3002example.com", "b.example.com"},
		{"a@\uff45xample.com", "example.com"},
		{"a@xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"a@_sub.example.com", "_sub.example.com"},
		{"root@localhost", "localhost"},
		{"a@09-az.AZ_90.example", "09-az.az_90.example"},
		{"a@" + label63 + ".example", label63 + ".example"},
		{"a@" + name253, name253},
		{"a@example.com (" + strings.Repeat("x", maxFromLen-16) + ")", "example.com"},

		// Several addresses.
		{"a@example.com, b@example.org", "example.com example.org"},
		{"a@example.com, b@EXAMPLE.com", "example.com"},
		{",, a@example.com,, B <b@example.org>, ,", "example.com example.org"},
		{"a@a.example,b@b.example,c@c.example,d@d.example,e@d.example", "a.example b.example c.example d.example"},
		// Groups.
		{"Friends: a@example.com, B <b@example.org>;", "example.com example.org"},
		{`"a: b": a@example.com;`, "example.com"},
		{"Friends:;, a@example.com", "example.com"},
		{"Friends: ,a@example.com,;, c@example.net", "example.com example.net"},
		// A display name that looks like an address, of the same domain.
		{"a@example.com <a@example.com>", "example.com"},
		{"b@EXAMPLE.com <a@example.com>", "example.com"},
	} {
		got, err := authorDomains([]string{c.from})
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%q: %q, %v, want %q", c.from, got, err, c.want)
		}
	}
}

// What may be read in two ways has no author domain.
func TestAuthorsRefused(t *testing.T) {
	long := "a@example.com (" + strings.Repeat("x", maxFromLen) + ")"
	for _, c := range []struct{ from, want string }{
		{"", "the From field names no address"},
		{" , ", "the From field names no address"},
		{"(comment)", "the From field names no address"},
		{"undisclosed recipients:;", "the From field names no address"},
		{`"ceo@bank.example":;`, "the From field names no address"},
		{"=?utf-8?b?Y2VvQGJhbmsuZXhhbXBsZQ==?=:;", "the From field names no address"},
		{"Friends: ,, ;, Others:;", "the From field names no address"},
		{"Alice", "an address without a domain"},
		{"Alice <>", "an address without a domain"},
		{"<alice>", "an address without a domain"},
		{"Doe, John <j@example.com>", "an address without a domain"},
		{"@example.com", "an address without a local part"},
		{"<@example.com>", "a route before an address"},
		{"<@a.example,@b.example:c@example.com>", "a route before an address"},
		{"Alice <@bank.example:c@example.com>", "a route before an address"},
		{"<@bank.example,,@b.example,:c@example.com>", "a route before an address"},
		{`"ceo@bank.example"@example.com`, "a local part that looks like an address"},
		{`<"ceo\@bank.example"@example.com>`, "a local part that looks like an address"},
		{`x."ceo <ceo".y@example.com`, "a local part that looks like an address"},
		{`"ceo> "@example.com`, "a local part that looks like an address"},
		{`"ceo@bank.example"@example.com <"ceo@bank.example"@example.com>`, "a local part that looks like an address"},
		{"a@", `"" as a domain`},
		{"a@.", `"." as a domain`},
		{"a@example..com", `"example..com" as a domain`},
		{"a@.example.com", `".example.com" as a domain`},
		{"a@exa$mple.com", `"exa$mple.com" as a domain`},
		{"a@" + label63 + "x.com", "as a domain"},
		{"a@" + name253 + "x", "as a domain"},
		{"a@" + strings.Repeat("ü", 600) + ".com", "a domain of 1204 octets"},
		{"a@\xff.com", "as a domain"},
		{"a@b@example.com", `"@" in a domain`},
		{"a@bank.example@example.com", `"@" in a domain`},
		{"a@[192.0.2.1]", "an address literal"},
		{`a@"example.com"`, "a word in a domain"},
		{"a@example.com b", "a blank or a comment"},
		{"a@example.com (x) b", "a blank or a comment"},
		{"a@example .com", "a blank or a comment"},
		{"a@example.(x)com", "a blank or a comment"},
		{"a@(bank.example)example.com", "a blank or a comment"},
		{"a@exam\r\n ple.com", "a blank or a comment"},
		{"Alice a@example.com", "a local part of several words"},
		{"[a]@example.com", "a local part of several words"},
		{"a@example.com; b@example.org", `";" after an address`},
		{"a@example.com <b@example.org>", "the display name looks like an address"},
		{"a@bank.example, <b@example.org> c", "a word after an address"},
		{"a @ <b@example.org>", "the display name looks like an address"},
		{"=?utf-8?Q?a@bank.example?= <b@example.org>", "the display name looks like an address"},
		{"Alice <a@example.com", "the end inside <>"},
		{"Alice <a@example.com, b@example.com>", `"," inside <>`},
		{"Alice <<a@example.com>>", "an address without a domain"},
		{"Alice <a@example.com>>", `">" after an address`},
		{"Alice <a@example.com> <b@example.org>", `"<" after an address`},
		{"a@example.com>", `">" after an address`},
		{"Friends: a@example.com", "the end in a group"},
		{"Friends: Others: a@example.com;;", "an address without a domain"},
		{"Friends: a@b.example: a@example.com;;", `":" in a group`},
		{"a@bank.example: b@example.com;", "the name of a group looks like an address"},
		{": a@example.com;", `":" after an address`},
		{`"Alice <a@example.com>`, `'"' is missing`},
		{"(Alice a@example.com", "')' is missing"},
		{"Alice) a@example.com", "')' where none may be"},
		{"a@[example.com", "']' is missing"},
		{`Alice\ <a@example.com>`, `'\\' where none may be`},
		{"a@example.com\x00.bank.example", `'\x00' where none may be`},
		{"\"a\x00\" <a@example.com>", `'\x00' before`},
		{"\"a\\\x00\" <a@example.com>", `'\x00' before`},
		{"(\x01) a@example.com", `'\x01' before`},
		{"(\\\x7f) a@example.com", `'\x7f' before`},
		{"a@example.com\r\nb@example.org", "a line break that doesn't fold"},
		{"a@example.com\r b@example.org", "a line break that doesn't fold"},
		{"\"a\nb\" <a@example.com>", "a line break that doesn't fold"},
		{"(a\\\nb) a@example.com", "a line break that doesn't fold"},
		{long, "octets: at most"},
	} {
		got, err := authorDomains([]string{c.from})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.90q: %q, error %v, want one with %q", c.from, got, err, c.want)
		}
	}
}

// Any From field is parsed in linear time and memory, and where the standard
// library reads it too, it reads the same domains.
func FuzzAuthors(f *testing.F) {
	for _, seed := range []string{
		"Alice <a@example.com>", `"A, \"B\"" <a@b.example>, c@d.example (x (y))`, "g: a@example.com;, <@r.example:x@y.example>", "g: a@example.com;, \"<x@y>\"@z.example", "g: a@example.com;, b <x@y.example>",
		"=?utf-8?Q?x?= <jürgen@bücher.example>", "a@b <a@b>", "undisclosed:;", "a.b.@c.example.", "[x] y <z@w>",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, from string) {
		got, err := authorDomains([]string{from})
		if err != nil {
			return
		}
		if slices.ContainsFunc(got, func(d string) bool { return !IsDomain(d) }) {
			t.Fatalf("%q: domains %q", from, got)
		}
		list, err := netmail.ParseAddressList(from)
		if err != nil {
			return
		}
		var want []string
		for _, address := range list {
			again, err := authorDomains([]string{address.String()})
			if err != nil {
				return // the library is laxer: "a@[x]" and the like
			}
			for _, domain := range again {
				if !slices.Contains(want, domain) {
					want = append(want, domain)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: domains %q, net/mail has %q", from, got, want)
		}
	})
}

// The cost of hostile fields grows with their length, not with its square.
func TestAuthorsAllocations(t *testing.T) {
	for _, piece := range []string{"(", "(a)", "a,", "a@b,", "<", ":", "\"", "\\", "a ", "@", ".", "g:;", "ü", "[", "a.b@c.d, "} {
		from := strings.Repeat(piece, maxFromLen/len(piece))
		allocs := testing.AllocsPerRun(1, func() { Authors([]string{from}) })
		if limit := 3*float64(len(from)) + 100; allocs > limit {
			t.Errorf("%q repeated: %.0f allocations, want at most %.0f", piece, allocs, limit)
		}
	}
}
