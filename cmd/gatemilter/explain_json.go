package main

import (
	"encoding/json"
	"io"

	"gatemilter/policy"
)

// The JSON form of an explanation. Scripts rely on it: add to it, don't change it.
type explanationJSON struct {
	Direction  string          `json:"direction"`
	ClientIP   string          `json:"client_ip"`
	Mode       string          `json:"mode"`
	Gateway    string          `json:"gateway,omitempty"`
	Source     *sourceJSON     `json:"source,omitempty"`
	Hops       []hopJSON       `json:"hops,omitempty"`
	Spam       *spamJSON       `json:"spam,omitempty"`
	Verdict    verdictJSON     `json:"verdict"`
	Recipients []recipientJSON `json:"recipients,omitempty"`
	Edits      []editJSON      `json:"edits,omitempty"`
	Rules      []ruleJSON      `json:"rules,omitempty"`
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

type verdictJSON struct {
	Action  string   `json:"action"`
	Reply   string   `json:"reply,omitempty"`
	Reasons []string `json:"reasons,omitempty"`
}

type recipientJSON struct {
	Address string   `json:"address"`
	Action  string   `json:"action"`
	Reply   string   `json:"reply,omitempty"`
	Reasons []string `json:"reasons,omitempty"`
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
		Direction: v.Direction.String(),
		ClientIP:  e.message.Client.IP.String(),
		Mode:      e.mode.String(),
		Gateway:   v.Gateway,
		Source:    sourceOf(v.Source),
		Spam:      spamOf(v.Spam),
		Verdict:   verdictJSON{v.Action.String(), v.Reply.String(), codes(v.Reasons)},
	}
	for _, h := range v.Source.Hops {
		hop := hopJSON{Kind: h.Kind.String(), HELO: h.HELO, By: h.By, Role: string(h.Role), Why: h.Why}
		if h.IP.IsValid() {
			hop.IP = h.IP.String()
		}
		doc.Hops = append(doc.Hops, hop)
	}
	for _, r := range v.Recipients {
		doc.Recipients = append(doc.Recipients, recipientJSON{r.Address, r.Action.String(), r.Reply.String(), codes(r.Reasons)})
	}
	for _, edit := range v.Edits {
		doc.Edits = append(doc.Edits, editJSON{edit.Op.String(), edit.Name, edit.Value, edit.Index})
	}
	for _, r := range v.Reasons {
		doc.Rules = append(doc.Rules, ruleJSON{string(r.Code), r.Text})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(doc)
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

func codes(reasons []policy.Reason) []string {
	var list []string
	for _, r := range reasons {
		list = append(list, string(r.Code))
	}
	return list
}
