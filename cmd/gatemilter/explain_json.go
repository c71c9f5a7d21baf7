package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"

	"gatemilter/policy"
)

// The JSON form of an explanation. Scripts rely on it: add to it, don't change it.
type explanationJSON struct {
	Direction      string          `json:"direction"`
	ClientIP       string          `json:"client_ip"`
	Mode           string          `json:"mode"`
	Gateway        string          `json:"gateway,omitempty"`
	Source         *sourceJSON     `json:"source,omitempty"`
	Hops           []hopJSON       `json:"hops,omitempty"`
	Spam           *spamJSON       `json:"spam,omitempty"`
	Authentication *authJSON       `json:"authentication,omitempty"`
	Verdict        verdictJSON     `json:"verdict"`
	Recipients     []recipientJSON `json:"recipients,omitempty"`
	Edits          []editJSON      `json:"edits,omitempty"`
	// Route is that of all recipients; those of single ones stand with them.
	Route *wayJSON   `json:"route,omitempty"`
	Rules []ruleJSON `json:"rules,omitempty"`
}

type sourceJSON struct {
	IP      string `json:"ip,omitempty"`
	Outcome string `json:"outcome"`
	HELO    string `json:"helo,omitempty"`
}

type hopJSON struct {
	Kind string `json:"kind"`
	IP   string `json:"ip,omitempty"`
	HELO string `json:"helo,omitempty"`
	By   string `json:"by,omitempty"`
	Role string `json:"role"`
	Why  string `json:"why,omitempty"`
}

type spamJSON struct {
	IsSpam    bool     `json:"is_spam"`
	Score     *float64 `json:"score,omitempty"`
	Threshold *float64 `json:"threshold,omitempty"`
	Matched   string   `json:"matched,omitempty"`
}

type authJSON struct {
	SPF   string     `json:"spf,omitempty"`
	DKIM  []dkimJSON `json:"dkim,omitempty"`
	DMARC *dmarcJSON `json:"dmarc,omitempty"`
}

type dkimJSON struct {
	Domain   string `json:"domain,omitempty"`
	Selector string `json:"selector,omitempty"`
	Result   string `json:"result"`
	Reason   string `json:"reason,omitempty"`
}

type dmarcJSON struct {
	Result string `json:"result"`
	Domain string `json:"domain,omitempty"`
	Policy string `json:"policy,omitempty"`
	Reason string `json:"reason,omitempty"`
}

type verdictJSON struct {
	Action string `json:"action"`
	// Enforced is false where the verdict is only logged (mode = observe).
	Enforced bool     `json:"enforced"`
	Reply    string   `json:"reply,omitempty"`
	Reasons  []string `json:"reasons,omitempty"`
}

type recipientJSON struct {
	Address string   `json:"address"`
	Action  string   `json:"action"`
	Reply   string   `json:"reply,omitempty"`
	Reasons []string `json:"reasons,omitempty"`
	Route   *wayJSON `json:"route,omitempty"`
}

// A wayJSON has a transport and a nexthop unless the mail server delivers by itself.
type wayJSON struct {
	Name      string `json:"name,omitempty"`
	Transport string `json:"transport,omitempty"`
	Nexthop   string `json:"nexthop,omitempty"`
	Rule      string `json:"rule"`
}

type editJSON struct {
	Op    string `json:"op"`
	Name  string `json:"name,omitempty"`
	Value string `json:"value,omitempty"`
	Index int    `json:"index,omitempty"`
}

type ruleJSON struct {
	Rule string `json:"rule"`
	Text string `json:"text"`
}

func (e *explanation) writeJSON(w io.Writer) error {
	v := &e.verdict
	doc := explanationJSON{
		Direction:      v.Direction.String(),
		ClientIP:       e.message.Client.IP.String(),
		Mode:           e.mode.String(),
		Gateway:        v.Gateway,
		Source:         sourceOf(v.Source),
		Spam:           spamOf(v.Spam),
		Authentication: authenticationOf(&v.Authentication),
		Verdict:        verdictJSON{v.Action.String(), e.mode == policy.Enforce, v.Reply.String(), codes(v.Reasons)},
	}
	for _, h := range v.Source.Hops {
		hop := hopJSON{Kind: h.Kind.String(), HELO: h.HELO, By: h.By, Role: string(h.Role), Why: h.Why}
		if h.IP.IsValid() {
			hop.IP = h.IP.String()
		}
		doc.Hops = append(doc.Hops, hop)
	}
	for _, r := range v.Recipients {
		doc.Recipients = append(doc.Recipients, recipientJSON{r.Address, r.Action.String(), r.Reply.String(), codes(r.Reasons), e.wayTo(r.Address)})
	}
	doc.Route = e.wayTo("")
	for _, edit := range v.Edits {
		doc.Edits = append(doc.Edits, editJSON{edit.Op.String(), edit.Name, edit.Value, edit.Index})
	}
	for _, r := range v.Reasons {
		doc.Rules = append(doc.Rules, ruleJSON{string(r.Code), r.Text})
	}
	return writeJSONDoc(doc, w)
}

// wayTo returns the way of that recipient alone, or of all for "", if there is one.
func (e *explanation) wayTo(recipient string) *wayJSON {
	for _, w := range e.ways {
		if w.recipient == recipient {
			return &wayJSON{w.name(), w.transport(), w.nexthop(), string(w.why.Code)}
		}
	}
	return nil
}

// escapeUnprintable escapes in a JSON text what encoding/json leaves as it is, but a
// terminal would act on.
func escapeUnprintable(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case unicode.IsPrint(r) || r == '\n':
			b.WriteRune(r)
		default:
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, "\\u%04x", unit)
			}
		}
	}
	return b.String()
}

func sourceOf(s policy.Source) *sourceJSON {
	if s.Outcome == policy.NoSource {
		return nil
	}
	source := &sourceJSON{Outcome: s.Outcome.String(), HELO: s.HELO}
	if s.IP.IsValid() {
		source.IP = s.IP.String()
	}
	return source
}

func spamOf(s policy.Spam) *spamJSON {
	if s == (policy.Spam{}) {
		return nil
	}
	spam := &spamJSON{IsSpam: s.IsSpam, Matched: s.Matched}
	if s.Scored {
		spam.Score, spam.Threshold = &s.Score, &s.Threshold
	}
	return spam
}

func authenticationOf(a *policy.Authentication) *authJSON {
	if a.SPF.Result == "" && a.DKIM == nil && a.DMARC.Result == "" {
		return nil
	}
	doc := &authJSON{SPF: string(a.SPF.Result)}
	for _, d := range a.DKIM {
		doc.DKIM = append(doc.DKIM, dkimJSON{d.Domain, d.Selector, string(d.Result), d.Reason})
	}
	if d := a.DMARC; d.Result != "" {
		doc.DMARC = &dmarcJSON{string(d.Result), d.Domain, d.Policy, d.Reason}
	}
	return doc
}

func codes(reasons []policy.Reason) []string {
	var list []string
	for _, r := range reasons {
		list = append(list, string(r.Code))
	}
	return list
}
