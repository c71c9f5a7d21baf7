package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/netip"
	"time"

	"gatemilter/cmd/internal/verify"
	"gatemilter/milter/tlsprobe"
)

// The JSON form of a probe. Scripts rely on it: add to it, don't change it.
type probeJSON struct {
	Target     targetJSON        `json:"target"`
	Address    string            `json:"address,omitempty"`
	Greeting   string            `json:"greeting,omitempty"`
	Version    string            `json:"version,omitempty"`
	Cipher     string            `json:"cipher,omitempty"`
	Passed     bool              `json:"passed"`
	Checks     []checkJSON       `json:"checks"`
	Warnings   []findingJSON     `json:"warnings,omitempty"`
	Chain      []certificateJSON `json:"chain,omitempty"`
	MatchNames []string          `json:"match_names,omitempty"`
	Advice     []string          `json:"advice,omitempty"`
	Login      loginJSON         `json:"login"`
}

type targetJSON struct {
	Host     string `json:"host"`
	Port     uint16 `json:"port"`
	Implicit bool   `json:"implicit"`
	Clear    bool   `json:"clear,omitempty"`
	SNI      string `json:"sni,omitempty"`
}

type loginJSON struct {
	Holds      bool             `json:"holds"`
	Mechanisms []string         `json:"mechanisms,omitempty"`
	Problem    tlsprobe.Problem `json:"problem,omitempty"`
	Reason     string           `json:"reason"`
}

type checkJSON struct {
	Option  string           `json:"option"`
	Holds   bool             `json:"holds"`
	Problem tlsprobe.Problem `json:"problem,omitempty"`
	Reason  string           `json:"reason"`
}

type findingJSON struct {
	Problem tlsprobe.Problem `json:"problem"`
	Reason  string           `json:"reason"`
}

type certificateJSON struct {
	Subject        string       `json:"subject,omitempty"`
	Issuer         string       `json:"issuer,omitempty"`
	Names          []string     `json:"names,omitempty"`
	IPs            []netip.Addr `json:"ips,omitempty"`
	NotBefore      time.Time    `json:"not_before"`
	NotAfter       time.Time    `json:"not_after"`
	Key            string       `json:"key"`
	Fingerprint    string       `json:"sha256"`
	KeyFingerprint string       `json:"key_sha256"`
}

func writeTLSJSON(r *tlsprobe.Report, _ time.Time, w io.Writer) error {
	return writeJSONDoc(probeOf(r), w)
}

func probeOf(r *tlsprobe.Report) probeJSON {
	doc := probeJSON{
		Target:     targetJSON(r.Target),
		Greeting:   r.Greeting,
		Cipher:     r.Cipher,
		Passed:     r.Passed(),
		MatchNames: r.MatchNames(),
		Advice:     r.Advice(),
		Login:      loginJSON{r.Login.Holds, r.Auth, r.Login.Problem, r.Login.Reason},
	}
	if r.Address.IsValid() {
		doc.Address = r.Address.String()
	}
	if r.Cipher != "" {
		doc.Version = r.Version.String()
	}
	for _, o := range verify.Options(r) {
		doc.Checks = append(doc.Checks, checkJSON{o.Name, o.Holds, o.Problem, o.Reason})
	}
	for _, f := range r.Warnings {
		doc.Warnings = append(doc.Warnings, findingJSON(f))
	}
	for _, c := range r.Chain {
		doc.Chain = append(doc.Chain, certificateJSON(c))
	}
	return doc
}

// writeJSONDoc writes a result as JSON that a terminal can show.
func writeJSONDoc(doc any, w io.Writer) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(doc); err != nil {
		return err
	}
	_, err := io.WriteString(w, escapeUnprintable(b.String()))
	return err
}
