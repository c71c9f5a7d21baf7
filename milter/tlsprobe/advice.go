package tlsprobe

import (
	"slices"
	"strings"
)

// Advice says what can be done about each thing that is wrong, the best first.
// There is none where all is well.
func (r *Report) Advice() []string {
	var list []string
	add := func(advice ...string) {
		for _, a := range advice {
			if !slices.Contains(list, a) {
				list = append(list, a)
			}
		}
	}
	if r.unasked() {
		add("it was asked for no name (SNI), as Sendmail does: where --sni " + r.Target.Host + " shows a certificate that holds, Sendmail can't use this host with require_ca or verify_hostname")
	}
	for _, check := range []struct {
		Check
		loosen string
	}{
		{r.TLS, "not recommended: with require_tls = no mail would go in clear, for all on the way to read"},
		{r.Trust, "not recommended: with require_ca = no anybody's certificate would be taken"},
		{r.Name, "not recommended: with verify_hostname = no the certificate of any other host would be taken"},
	} {
		if check.Holds || check.Problem == NotChecked {
			continue
		}
		if check.Problem == NameMismatch {
			add(r.otherNames()...)
		}
		add(advice[check.Problem]...)
		if loosens[check.Problem] {
			add(check.loosen)
		}
	}
	for _, w := range r.Warnings {
		add(advice[w.Problem]...)
	}
	return list
}

// unasked says whether the host may have a better certificate for who asks for it by its name.
func (r *Report) unasked() bool {
	if r.Target.SNI != "" || r.Target.Asking(true).SNI == "" {
		return false
	}
	for _, p := range []Problem{SelfSigned, UnknownCA, NameMismatch} {
		if r.Trust.Problem == p || r.Name.Problem == p {
			return true
		}
	}
	return false
}

// loosens are the problems that disappear when the option is set to no.
var loosens = map[Problem]bool{
	NoSTARTTLS: true, STARTTLSRefused: true, HandshakeFailed: true, TLSTooOld: true,
	SelfSigned: true, UnknownCA: true, Expired: true, NotYetValid: true, ChainInvalid: true, NameMismatch: true,
}

// otherNames proposes the names that the certificate has.
func (r *Report) otherNames() []string {
	var names []string
	for _, name := range r.MatchNames() {
		if !strings.HasPrefix(name, "*") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	more := ""
	if len(names) > shownNames {
		names, more = names[:shownNames], " …"
	}
	return []string{"if the relay provider's documentation gives it so, write another host name: " + strings.Join(names, ", ") + more}
}

// askProvider is what helps where the fault is the server's.
const askProvider = "ask the relay provider to correct it"

var advice = map[Problem][]string{
	HostNotFound:     {"check how the host's name is written; ask the relay provider for it"},
	LookupFailed:     {"try again later; if it stays so, check this machine's name servers"},
	Inside:           {"write a host of the public Internet, or allow its network"},
	Refused:          {"check the port: relays listen on 25 or 587", "ask the relay provider whether this machine's address is let in"},
	ConnectionFailed: {"check this machine's network and firewall, and the host's address"},
	Closed:           {"ask the relay provider whether this machine's address is let in"},
	Timeout:          {"check host and port; many networks block outgoing connections to port 25: try 587", "ask the relay provider whether this machine's address is let in"},
	NotSMTP:          {"check host and port: no mail server answers there"},
	TLSFromStart:     {"use port 25 or 587 of this host, where TLS begins with STARTTLS: a route can't use TLS from the start", "to look at its certificate, probe it with --implicit"},
	ClearFromStart:   {"probe it without --implicit: TLS begins with STARTTLS there"},
	SessionRefused:   {"try again later if the code begins with 4", "ask the relay provider whether this machine's address is let in"},
	NoSTARTTLS:       {"try port 587: some servers offer TLS only there", "ask the relay provider which host and port offer TLS"},
	STARTTLSRefused:  {"try again later if the code begins with 4", askProvider},
	BytesBeforeTLS:   {"do not send mail there until the relay provider has explained it; try from another network: the fault may be on the way"},
	HandshakeFailed:  {askProvider},
	TLSTooOld:        {"ask the relay provider for a host with TLS 1.2 or later"},
	SelfSigned:       {"ask the relay provider for a certificate of a public CA", "or get the certificate from the provider by a safe way, and name its file in ca_file"},
	UnknownCA:        {"if it is the relay provider's own CA, get its certificate by a safe way, and install it or name its file in ca_file", "if it is a public CA, ask the relay provider to send the intermediate certificates too"},
	Expired:          {"check this machine's clock", "ask the relay provider to renew the certificate"},
	NotYetValid:      {"check this machine's clock", askProvider},
	ChainInvalid:     {askProvider},
	NameMismatch:     {"ask the relay provider for the host name that its certificate bears"},
	ExpiresSoon:      {"ask the relay provider whether it renews the certificate in time"},
}
