package dkim

import (
	"context"
	"strings"
	"testing"

	"gatemilter/policy"
)

// chunk is what an MTA sends of a body at once, in octets.
const chunk = 65535

func benchmark(b *testing.B, m message, dns LookupTXT, want string) {
	body := []byte(m.body)
	b.ReportAllocs()
	for b.Loop() {
		c := Begin(b.Context(), m.fields, dns, Limits{})
		for rest := body; len(rest) > 0; {
			n, _ := c.Write(rest[:min(len(rest), chunk)])
			rest = rest[n:]
		}
		if got := words(c.Finish(b.Context())); got != want {
			b.Fatalf("%s, not %s", got, want)
		}
	}
}

// BenchmarkMail is mail as it is.
func BenchmarkMail(b *testing.B) {
	for _, row := range []struct {
		name, selector, canonical string
		octets                    int
	}{
		{"4KiB/RSA", "rsa", "relaxed/relaxed", 4 << 10},
		{"4KiB/Ed25519", "ed", "relaxed/relaxed", 4 << 10},
		{"50KiB/RSA", "rsa", "relaxed/relaxed", 50 << 10},
		{"10MiB/simple", "rsa", "relaxed/simple", 10 << 20},
		{"10MiB/relaxed", "rsa", "relaxed/relaxed", 10 << 20},
	} {
		raw := plain + strings.Repeat(strings.Repeat("0123456789", 7)+"\r\n", row.octets/72)
		m, keys := parse(sign(raw, row.selector, row.canonical)), ownKeys()
		b.Run(row.name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			benchmark(b, m, keys.LookupTXT, "pass")
		})
	}
}

// BenchmarkHostile is the worst that each bound lets through or keeps out, with
// as many signatures as are verified.
func BenchmarkHostile(b *testing.B) {
	const fails = "fail fail fail fail fail"
	keys := ownKeys()
	withBody := func(canonical, unit string) message {
		m := fivefold("From: joe@example.org\r\n\r\n", canonical)
		m.body = strings.Repeat(unit, 10<<20/len(unit))
		return m
	}
	withFields := func(canonical string, fields ...policy.Field) message {
		raw := "From: joe@example.org\r\n"
		for _, f := range fields {
			raw += f.Name + ": " + f.Value + "\r\n"
		}
		return fivefold(raw+"\r\nHi.\r\n", canonical)
	}
	withSignature := func(selector string) message {
		raw := plain
		for range 5 {
			raw = sign(raw, selector, "simple/simple")
		}
		return parse(raw)
	}
	for name, row := range map[string]struct {
		message message
		dns     LookupTXT
		want    string
	}{
		"10MiB simple":        {withBody("simple/simple", "0123456789abcde\n"), keys.LookupTXT, fails},
		"10MiB relaxed":       {withBody("relaxed/relaxed", "0123456789abcd\r\n"), keys.LookupTXT, fails},
		"line ends kept out":  {withBody("simple/simple", "\r\n"), keys.LookupTXT, "policy policy policy policy policy"},
		"line ends, simple":   {withBody("simple/simple", strings.Repeat("\r\n", maxBlankRun/2-1)+"x"), keys.LookupTXT, fails},
		"line ends, relaxed":  {withBody("relaxed/relaxed", strings.Repeat("\r\n", maxBlankRun/2-1)+"x"), keys.LookupTXT, fails},
		"Unix line ends":      {withBody("simple/simple", strings.Repeat("\n", maxBlankRun-1)+"x"), keys.LookupTXT, fails},
		"lines folded":        {withFields("simple/simple", folded(500, 400), folded(1, 8)), keys.LookupTXT, "pass pass pass pass pass"},
		"lines unfolded":      {withFields("relaxed/relaxed", folded(10000, 16)), keys.LookupTXT, "pass pass pass pass pass"},
		"key of 8192 bits":    {withSignature("rsa"), keyOf(rsaOf(8192)), fails},
		"key of 256K bits":    {withSignature("rsa"), keyOf(rsaOf(256 << 10)), "policy policy policy policy policy"},
		"2000 signatures":     {withSignatures(parse(plain), 2000), zone{}.LookupTXT, "permerror permerror permerror permerror permerror policy"},
		"2000 fields, names":  {named(2000, 1), keys.LookupTXT, fails},
		"2000 fields of 1KiB": {named(2000, 1<<10), keys.LookupTXT, fails},
	} {
		b.Run(name, func(b *testing.B) { benchmark(b, row.message, row.dns, row.want) })
	}
}

func folded(lines, octets int) policy.Field {
	return policy.Field{Name: "X", Value: strings.TrimPrefix(strings.Repeat("\r\n "+strings.Repeat("x", octets), lines), "\r\n ")}
}

func keyOf(record string) LookupTXT {
	return func(context.Context, string) ([]string, error) { return []string{record}, nil }
}

// named is a message with so many fields of so many octets, and signatures that
// name as many of them as they may.
func named(fields, octets int) message {
	m := parse("From: joe@example.org\r\n\r\n")
	for range fields {
		m.fields = append(m.fields, policy.Field{Name: "X", Value: strings.Repeat("x", octets)})
	}
	value := tagsWith("h=from:to:subject", "h=from"+strings.Repeat(":x", maxNames-1))
	for range 5 {
		m.fields = append(m.fields, policy.Field{Name: "DKIM-Signature", Value: value})
	}
	return m
}
