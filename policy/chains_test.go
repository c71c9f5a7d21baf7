package policy

import (
	"bufio"
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// chain is a line of testdata/received/chains.jsonl: a whole stack of Received
// fields and the right source.
type chain struct {
	ID         string   `json:"id"`
	Connecting string   `json:"connecting_ip"`
	Gateways   []string `json:"gateway_ips"`
	Detect     bool     `json:"auto_detect"`
	Received   []string `json:"received"`
	Expect     struct {
		IP      string `json:"source_ip"`
		Outcome string `json:"outcome"`
	} `json:"expect"`
	Hops []hop `json:"hops"`
}

type hop struct {
	Kind string `json:"kind"`
	IP   string `json:"ip"`
}

func readChains(t testing.TB) []chain {
	t.Helper()
	f, err := os.Open("../testdata/received/chains.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var chains []chain
	for scanner := bufio.NewScanner(f); scanner.Scan(); {
		var c chain
		if err := json.Unmarshal(scanner.Bytes(), &c); err != nil {
			t.Fatalf("chains.jsonl: %v", err)
		}
		chains = append(chains, c)
	}
	if len(chains) < 24 {
		t.Fatalf("chains.jsonl has %d chains, want 24 at least", len(chains))
	}
	return chains
}

func (c chain) message() *Message {
	m := &Message{Client: Client{IP: netip.MustParseAddr(c.Connecting)}, Recipients: []string{"user@example.com"}}
	for _, value := range c.Received {
		m.Header = append(m.Header, Field{Name: "Received", Value: value})
	}
	return m
}

func (c chain) policy() *Policy {
	return New(Settings{Gateways: []Gateway{{Name: "gateway", Addresses: prefixes(c.Gateways...), DetectExternalIP: c.Detect}}})
}

// I3–I8 on whole header stacks of real and made-up routes.
func TestChains(t *testing.T) {
	for _, c := range readChains(t) {
		t.Run(c.ID, func(t *testing.T) {
			source := c.policy().Evaluate(context.Background(), c.message(), nil).Source
			got := c
			got.Expect.IP, got.Expect.Outcome = "", source.Outcome.String()
			if source.IP.IsValid() {
				got.Expect.IP = source.IP.String()
			}
			if source.Hops != nil {
				got.Hops = nil
				for _, h := range source.Hops {
					text := hop{Kind: h.Kind.String()}
					if h.IP.IsValid() {
						text.IP = h.IP.String()
					}
					got.Hops = append(got.Hops, text)
				}
			}
			if diff := cmp.Diff(c, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func BenchmarkChain(b *testing.B) {
	chains := readChains(b)
	policies := make([]*Policy, len(chains))
	messages := make([]*Message, len(chains))
	for i, c := range chains {
		policies[i], messages[i] = c.policy(), c.message()
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n := i % len(chains)
		policies[n].Evaluate(context.Background(), messages[n], nil)
	}
}

func BenchmarkScoreExpression(b *testing.B) {
	e := expression(`^X-(?:spam|phishy): (0\.\d*|1\.0*)$`)
	line := []byte("X-Phishy: 0.7342")
	b.ReportAllocs()
	for b.Loop() {
		capture, ok := e.Match(line)
		if score, err := ParseScore(capture); !ok || err != nil || score < 0.5 {
			b.Fatal("no match")
		}
	}
}
