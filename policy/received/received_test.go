package received

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A header is one line of a corpus; its README says what the fields mean.
type header struct {
	ID, Received, Note string
	Kind, IP, HELO, By string
	Tier, MTA, Source  string
	AlsoOK             []string `json:"also_ok"`
	Candidates         []string
}

func corpus(t testing.TB, name string) []header {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "received", name))
	if err != nil {
		t.Fatal(err)
	}
	var headers []header
	for line := range bytes.Lines(data) {
		var h header
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&h); err != nil {
			t.Fatalf("%s: line %d: %v", name, len(headers)+1, err)
		}
		headers = append(headers, h)
	}
	return headers
}

// text writes an address as the corpora do.
func text(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.String()
}

// TestI8Corpus reads real headers. A tier has its own bar, a wrong address has none.
func TestI8Corpus(t *testing.T) {
	type score struct{ right, all int }
	tiers := map[string]*score{"core": {}, "adversarial": {}, "rare": {}, "hard": {}}
	for _, h := range corpus(t, "received.jsonl") {
		got := Parse(h.Received)
		s := tiers[h.Tier]
		s.all++
		switch ip := text(got.IP); {
		case ip != "" && ip != h.IP:
			t.Errorf("%s: wrong address %s (%s), want %s %s\n%q", h.ID, ip, got.Why, h.Kind, h.IP, h.Received)
		case ip == h.IP && got.Kind.String() == h.Kind, ip == "" && slices.Contains(h.AlsoOK, got.Kind.String()):
			s.right++
		default:
			t.Logf("%s: %s %s (%s), want %s %s: %s\n%q", h.ID, got.Kind, ip, got.Why, h.Kind, h.IP, h.Note, h.Received)
		}
	}
	for tier, percent := range map[string]int{"core": 100, "adversarial": 100, "rare": 98, "hard": 98} {
		s := tiers[tier]
		t.Logf("%-11s %d of %d", tier, s.right, s.all)
		if s.all == 0 || s.right*100 < s.all*percent {
			t.Errorf("%s: %d of %d right, want %d %%", tier, s.right, s.all, percent)
		}
	}
}

func TestAmbiguousCorpus(t *testing.T) {
	for _, h := range corpus(t, "received-ambiguous.jsonl") {
		got := Parse(h.Received)
		answer := got.Kind.String()
		if got.Kind == Relay {
			answer = text(got.IP)
		}
		if !slices.Contains(h.Candidates, answer) {
			t.Errorf("%s: %s (%s), want one of %q: %s\n%q", h.ID, answer, got.Why, h.Candidates, h.Note, h.Received)
		}
	}
}

// TestOwnCorpus reads the layouts of current products, and attacks on them.
func TestOwnCorpus(t *testing.T) {
	type answer struct{ kind, ip, helo, by string }
	for _, h := range corpus(t, "own.jsonl") {
		hop := Parse(h.Received)
		got := answer{hop.Kind.String(), text(hop.IP), hop.HELO, hop.By}
		want := answer{h.Kind, h.IP, h.HELO, h.By}
		if got != want {
			t.Errorf("%s: got %q (%s), want %q: %s\n%q", h.ID, got, hop.Why, want, h.Note, h.Received)
		}
	}
}

func TestParse(t *testing.T) {
	ip := netip.MustParseAddr("203.0.113.5")
	long := strings.Repeat("x", maxValue)
	for _, tt := range []struct {
		value string
		want  Hop
	}{
		{"", Hop{Why: noFrom}},
		{"by b with SMTP id 1", Hop{By: "b", Why: noFrom}},
		{"from a by b with local", Hop{By: "b", Why: submission}},
		{"from a by b", Hop{Kind: Unrecognised, By: "b", Why: noAddress}},
		{"from a ([]) by b", Hop{Kind: Unrecognised, By: "b", Why: invalid}},
		{"from [203.0.113.5] (c) by b", Hop{Kind: Unrecognised, By: "b", Why: nameOnly}},
		{"from [203.0.113.5] by b with ESMTPA", Hop{Kind: Unrecognised, By: "b", Why: hidden}},
		{"from a (c [203.0.113.5]) (d [203.0.113.6]) by b", Hop{Kind: Unrecognised, By: "b", Why: several}},
		{"from a (c [203.0.113.5] by b", Hop{Kind: Unrecognised, Why: unbounded}},
		{"from a (c [203.0.113.5]) by b", Hop{Relay, ip, "a", "b", inTCPInfo}},
		{"from a [203.0.113.5] by b", Hop{Relay, ip, "", "b", behindName}},
		{"from [203.0.113.5] by b", Hop{Relay, ip, "", "b", literalOnly}},
		{"from 203.0.113.5 by b with HTTP", Hop{Relay, ip, "", "b", bareOnly}},
		{"FROM\r\n\ta\r\n\t(c\r\n\t[203.0.113.5])\r\n\tBY\r\n\tb", Hop{Relay, ip, "a", "b", inTCPInfo}},

		// A longer field is not read in part: what follows may be another by.
		{"from a (c [203.0.113.5]) by b id " + long, Hop{Kind: Unrecognised, By: "b", Why: tooLong}},
		{"from " + long + " (c [203.0.113.5]) by b", Hop{Kind: Unrecognised, Why: tooLong}},
		{"by b id " + long, Hop{By: "b", Why: noFrom}},
	} {
		if got := Parse(tt.value); got != tt.want {
			t.Errorf("Parse(%.80q)\ngot  %+v\nwant %+v", tt.value, got, tt.want)
		}
	}
}

func TestKindString(t *testing.T) {
	got := []string{NotAHop.String(), Unrecognised.String(), Relay.String()}
	if want := []string{"not-a-hop", "unrecognised", "hop"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLiteral(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"[192.0.2.1]", "192.0.2.1"},
		{"[192.0.2.1]:25", "192.0.2.1"},
		{"[192.0.2.1:25]", "192.0.2.1"},
		{"[192.0.2.1.25]", "192.0.2.1"},
		{"[::ffff:192.0.2.1]", "192.0.2.1"},
		{"[IPv6:2001:DB8:0:0::1]", "2001:db8::1"},
		{"[2001:db8::1]:25", "2001:db8::1"},
		{"[fe80::1%eth0]", "fe80::1"},

		{"192.0.2.1", ""},
		{"[192.0.2.1", ""},
		{"[192.0.2.1]x", ""},
		{"[192.0.2.1]:", ""},
		{"[192.0.2.1]:0", ""},
		{"[192.0.2.1]:65536", ""},
		{"[192.0.2.1.65536]", ""},
		{"[192.0.2.01]", ""},
		{"[192.0.2]", ""},
		{"[192.0.2.1%eth0]", ""},
		{"[IPv6:192.0.2.1]", ""},
		{"[fe80::1%]", ""},
		{"[2001:db8::1/64]", ""},
		{"[]", ""},
	} {
		ip, ok := literal(tt.text)
		if got := text(ip); got != tt.want || ok != (tt.want != "") {
			t.Errorf("literal(%q) = %q, %t; want %q", tt.text, got, ok, tt.want)
		}
	}
}
