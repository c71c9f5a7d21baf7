package policy

import (
	"context"
	"slices"
	"strconv"
)

// A Transaction applies the policy to one SMTP transaction, step by step: it
// begins at MAIL, is asked for each recipient, and finishes with the header. It
// keeps the policy with which it began. It is not safe for concurrent use.
type Transaction struct {
	policy *Policy
	client Client
	exempt bool
	// listing holds the gateways that list the client's address, vouching those
	// of them that have also shown their certificate.
	listing  []*gateway
	vouching []*gateway
	// gateway is the one that vouches for the message: that of the first
	// recipient that has one.
	gateway *gateway
	// guarded says that a recipient's domain takes mail from its gateway only.
	guarded bool

	mail       Decision
	recipients []Decision
	reasons    []Reason
}

// Begin starts a transaction at MAIL. Login is the name by which the client
// authenticated, or "".
func (p *Policy) Begin(client Client, login string) *Transaction {
	t := &Transaction{policy: p, client: client}
	if reason, ok := p.exemption(&client, login); ok {
		t.exempt = true
		t.note(reason.Code, reason.Text)
		return t
	}
	t.listing = p.listing(client.IP)
	t.findVouching()
	t.mail = t.decideMail()
	if len(t.listing) == 0 && len(p.gateways) > 0 && client.IP.IsValid() {
		t.note(NotFromGateway, client.IP.String()+" is no host of a gateway")
		t.noteLikelyGateway()
	}
	return t
}

// exemption says whether the inbound rules leave this client alone.
func (p *Policy) exemption(c *Client, login string) (Reason, bool) {
	switch {
	case login != "":
		return Reason{ExemptLogin, "authenticated as " + strconv.Quote(login)}, true
	case c.Local:
		return Reason{ExemptLocal, "handed over on this host"}, true
	case !c.IP.IsValid():
		return Reason{}, false
	case c.IP.IsLoopback():
		return Reason{ExemptLocal, "client " + c.IP.String() + " is this host"}, true
	case p.internal.Contains(c.IP):
		return Reason{ExemptInternal, "client " + c.IP.String() + " is in internal_networks"}, true
	}
	return Reason{}, false
}

// findVouching takes from listing the gateways that have shown the certificate
// that they must have.
func (t *Transaction) findVouching() {
	for _, g := range t.listing {
		if g.certified(&t.client) {
			t.vouching = append(t.vouching, g)
			continue
		}
		shown := "no verified certificate"
		if t.client.Certificate != "" {
			shown = "a certificate for " + strconv.Quote(t.client.Certificate)
		}
		t.note(CertificateMissing, t.client.IP.String()+" is a host of gateway "+g.Name+" but showed "+shown+", not "+strconv.Quote(g.TLSCertificate))
	}
}

// noteLikelyGateway names a gateway that seems to lack the client among its
// hosts.
func (t *Transaction) noteLikelyGateway() {
	if g := t.policy.near[neighbours(t.client.IP)]; g != nil {
		t.note(LikelyGateway, t.client.IP.String()+" is a neighbour of hosts of gateway "+g.Name+": add it to its addresses if it is one of them")
		return
	}
	if t.client.Resembles != "" {
		t.note(LikelyGateway, strconv.Quote(t.client.Name)+" is named like hosts of gateway "+t.client.Resembles+": add "+t.client.IP.String()+" to its addresses if it is one of them")
	}
}

// decideMail refuses a client of which no gateway's rules could be kept.
func (t *Transaction) decideMail() Decision {
	if !t.client.IP.IsValid() && len(t.policy.gateways) > 0 {
		// Neither "from the gateway" nor "not from it" would be safe to assume.
		return refuse(Reply{451, "4.3.0", "client address is not known, try again later"},
			Reason{UnknownClient, "the mail server did not tell the client's address"})
	}
	if len(t.listing) == 0 {
		return Decision{}
	}
	for _, g := range t.listing {
		if d := g.decideTLS(&t.client); d.Action == Accept {
			return Decision{}
		}
	}
	return t.listing[0].decideTLS(&t.client)
}

// Mail returns the decision at MAIL.
func (t *Transaction) Mail() Decision { return t.mail }

// Rcpt returns the decision on one recipient, given without angle brackets, and
// takes it into the transaction.
func (t *Transaction) Rcpt(address string) Decision {
	d := t.decideRcpt(address)
	d.Address = address
	t.recipients = append(t.recipients, d)
	return d
}

func (t *Transaction) decideRcpt(address string) Decision {
	if t.exempt {
		return Decision{}
	}
	var own *gateway
	guarded := false
	for _, g := range t.policy.serving(address) {
		guarded = guarded || g.RejectOther
		if slices.Contains(t.listing, g) {
			if d := g.decideTLS(&t.client); d.Action != Accept {
				return d
			}
		}
		if own == nil && slices.Contains(t.vouching, g) {
			own = g
		}
	}
	switch {
	case own == nil && guarded:
		return refuse(aroundReply, Reason{AroundGateway, "mail to this domain has to come from its gateway"})
	case own == nil:
		return Decision{}
	case t.gateway == nil:
		t.gateway = own
	case t.gateway != own:
		// One message can follow the rules of one gateway only. The sender tries
		// the deferred recipients again in a transaction of their own.
		return refuse(Reply{452, "4.5.3", "recipient is behind another gateway, send it separately"},
			Reason{OtherGateway, "behind gateway " + own.Name + ", while the message is one of gateway " + t.gateway.Name})
	}
	t.guarded = t.guarded || guarded
	return Decision{}
}

var aroundReply = Reply{550, "5.7.1", "mail for this domain is taken only from its inbound gateway, send it to the domain's MX"}

// Finish decides on the whole message once its header is known.
func (t *Transaction) Finish(ctx context.Context, header []Field) Verdict {
	v := Verdict{Recipients: t.recipients, Reasons: t.reasons}
	if t.exempt {
		v.Direction = Exempt
		return v
	}
	if refused, ok := t.refusal(); ok {
		return v.refuse(refused)
	}
	t.findGateway(header, &v)
	if v.Action.Refuses() {
		return v
	}
	var g *gateway
	if v.Gateway != "" {
		g = t.gateway
	}
	v.Source = findSource(g, &t.client, header)
	v.Reasons = append(v.Reasons, v.Source.reasons(g)...)
	t.policy.judgeSpam(ctx, g, header, &v)
	if v.Action.Refuses() {
		return v
	}
	t.policy.edit(g, header, &v)
	return v
}

// SoFar returns what was decided when a transaction ends without a message. Its
// action is accept unless nothing of the message was left to take.
func (t *Transaction) SoFar() Verdict {
	v := Verdict{Recipients: t.recipients, Reasons: t.reasons}
	if d, refused := t.refusal(); refused {
		return v.refuse(d)
	}
	return v
}

// refusal returns the decision that leaves nothing of the message to take: the
// one at MAIL, or that on the first recipient when none was accepted.
func (t *Transaction) refusal() (Decision, bool) {
	if t.mail.Action.Refuses() {
		return t.mail, true
	}
	if len(t.recipients) == 0 || slices.ContainsFunc(t.recipients, func(d Decision) bool { return !d.Action.Refuses() }) {
		return Decision{}, false
	}
	return t.recipients[0], true
}

// findGateway settles which gateway vouches for the message, now that the header
// can tell whether it bears the gateway's secret.
func (t *Transaction) findGateway(header []Field, v *Verdict) {
	if t.gateway == nil && len(t.vouching) > 0 {
		// None of the domains is behind a gateway of this client, but its
		// address is a gateway's all the same.
		t.gateway = t.vouching[0]
	}
	switch {
	case t.gateway == nil:
	case t.gateway.RequireHeader == nil || len(matching(t.gateway.RequireHeader, header)) > 0:
		v.Gateway = t.gateway.Name
		v.note(FromGateway, "client "+t.client.IP.String()+" is a host of gateway "+t.gateway.Name)
	default:
		v.note(SecretMissing, "client "+t.client.IP.String()+" is a host of gateway "+t.gateway.Name+", but no field matches its require_header")
		if t.guarded {
			*v = v.refuse(refuse(aroundReply, Reason{AroundGateway, "mail to this domain has to come from its gateway"}))
		}
	}
}

// certified says whether the client has shown the certificate that the gateway
// must have, if any.
func (g *gateway) certified(c *Client) bool {
	return g.TLSCertificate == "" || c.Certificate != "" && CanonicalDomain(c.Certificate) == CanonicalDomain(g.TLSCertificate)
}

// decideTLS refuses a client that doesn't use the TLS which the gateway has to
// use.
func (g *gateway) decideTLS(c *Client) Decision {
	switch {
	case c.TLS >= g.MinTLS:
		return Decision{}
	case c.TLS == TLSNone:
		return refuse(Reply{530, "5.7.0", "TLS is required, issue STARTTLS first"},
			Reason{TLSMissing, "gateway " + g.Name + " must use TLS"})
	}
	return refuse(Reply{530, "5.7.0", "TLS " + g.MinTLS.String() + " or newer is required"},
		Reason{TLSTooOld, "gateway " + g.Name + " must use TLS " + g.MinTLS.String() + " or newer, not " + c.TLS.String()})
}

func refuse(r Reply, why Reason) Decision {
	return Decision{Action: r.action(), Reply: r, Reasons: []Reason{why}}
}

// refuse makes the decision the verdict's.
func (v Verdict) refuse(d Decision) Verdict {
	v.Action, v.Reply = d.Action, d.Reply
	v.Reasons = append(v.Reasons, d.Reasons...)
	return v
}

func (v *Verdict) note(code Code, text string) { v.Reasons = append(v.Reasons, Reason{code, text}) }

func (t *Transaction) note(code Code, text string) {
	t.reasons = append(t.reasons, Reason{code, text})
}
