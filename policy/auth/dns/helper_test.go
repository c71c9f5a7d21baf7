package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
)

// patience is a timeout that ends no test that passes.
const patience = 30 * time.Second

func newClient(t testing.TB, config Config) *Client {
	t.Helper()
	config.Timeout = cmp.Or(config.Timeout, patience)
	client, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// newFake returns a client with servers "one" and "two" that are a function.
func newFake(t testing.TB, now func() time.Time, ask exchange) *Client {
	t.Helper()
	client := newClient(t, Config{Servers: []string{"127.0.0.1:53"}, Now: now})
	client.servers = []string{"one", "two"}
	client.exchange = ask
	return client
}

// replyTo makes a reply; the sections are records, one a line.
func replyTo(t testing.TB, q question, rcode int, answer, authority string) *miekg.Msg {
	t.Helper()
	query := new(miekg.Msg).SetQuestion(q.name+".", q.typ)
	reply := new(miekg.Msg).SetRcode(query, rcode)
	reply.RecursionAvailable = true
	reply.Answer, reply.Ns = records(t, answer), records(t, authority)
	return reply
}

func records(t testing.TB, text string) []miekg.RR {
	t.Helper()
	var rrs []miekg.RR
	parser := miekg.NewZoneParser(strings.NewReader(text), ".", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		rrs = append(rrs, rr)
	}
	if err := parser.Err(); err != nil {
		t.Fatal(err)
	}
	return rrs
}

// query asks a client as its callers do, by the type's name, and shows the outcome.
func query(ctx context.Context, c *Client, typ, name string) string {
	switch typ {
	case "TXT":
		texts, err := c.LookupTXT(ctx, name)
		return show(texts, err)
	case "MX":
		hosts, err := c.LookupMX(ctx, name)
		var texts []string
		for _, mx := range hosts {
			texts = append(texts, fmt.Sprint(mx.Pref, " ", mx.Host))
		}
		return show(texts, err)
	case "IP":
		addrs, err := c.LookupIPAddr(ctx, name)
		return show(addressTexts(addrs), err)
	case "A":
		addrs, err := c.LookupA(ctx, name)
		return show(addressTexts(addrs), err)
	case "AAAA":
		addrs, err := c.LookupAAAA(ctx, name)
		return show(addressTexts(addrs), err)
	default:
		names, err := c.LookupAddr(ctx, name)
		return show(names, err)
	}
}

func addressTexts(addrs []net.IPAddr) []string {
	var texts []string
	for _, addr := range addrs {
		texts = append(texts, addr.String())
	}
	return texts
}

func show(results []string, err error) string {
	if err == nil {
		return strings.Join(results, " | ")
	}
	failure, bare := err.(*net.DNSError)
	switch {
	case !bare:
		return fmt.Sprintf("not a bare *net.DNSError: %T", err)
	case results != nil:
		return "results beside an error"
	case failure.IsNotFound == failure.IsTemporary:
		return fmt.Sprintf("neither not found nor temporary: %#v", failure)
	case failure.IsNotFound:
		return "not found: " + failure.Err
	case errors.Is(err, context.Canceled), failure.IsTimeout:
		return "temporary: time"
	}
	return "temporary: " + failure.Err
}
