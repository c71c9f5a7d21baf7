package policy

import (
	"cmp"
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
	sender string
	exempt bool
	// login is the name by which the client has authenticated, or "".
	login string
	// listing holds the gateways that list the client's address, vouching those
	// of them that have also shown their certificate.
	listing  []*gateway
	vouching []*gateway
	// candidates are the gateways of which one vouches for the message: those behind
	// which all recipients are that are behind any.
	candidates []*gateway
	// guarded says that a recipient's domain takes mail from its gateway only.
	guarded bool

	mail       Decision
	recipients []Decision
	reasons    []Reason

	// From Header on:
	header []Field
	// gateway is the candidate whose rules the message follows, if it bears its secret.
	gateway       *gateway
	secrets       map[*gateway][]int
	verdict       Verdict
	checker       Checker
	authenticator Authenticator
}

// Begin starts a transaction at MAIL. Login is the name by which the client
// authenticated, or ""; sender is the envelope sender without angle brackets.
func (p *Policy) Begin(client Client, login, sender string) *Transaction {
	t := &Transaction{policy: p, client: client, sender: sender, login: login}
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

// Examined says whether the header of the message makes any difference.
func (t *Transaction) Examined() bool { return !t.exempt || t.login != "" }

// Mail returns the decision at MAIL.
func (t *Transaction) Mail() Decision { return t.mail }

// Rcpt returns the decision on one recipient and takes it into the transaction. The
// address is as the client wrote it, without angle brackets; resolved is the
// address to which the mail server resolved that, or "" if it didn't tell.
func (t *Transaction) Rcpt(address, resolved string) Decision {
	d := t.decideRcpt(address, resolved)
	d.Address = address
	t.recipients = append(t.recipients, d)
	return d
}

func (t *Transaction) decideRcpt(address, resolved string) Decision {
	if t.exempt {
		return Decision{}
	}
	var own []*gateway
	guarded := false
	for _, g := range t.policy.serving(address, resolved) {
		guarded = guarded || g.RejectOther
		if slices.Contains(t.listing, g) {
			if d := g.decideTLS(&t.client); d.Action != Accept {
				return d
			}
		}
		if slices.Contains(t.vouching, g) {
			own = append(own, g)
		}
	}
	switch {
	case own == nil && guarded:
		return refuse(aroundReply, Reason{AroundGateway, "mail to this domain has to come from its gateway"})
	case own == nil:
		return Decision{}
	}
	if t.candidates != nil {
		first := own[0]
		own = slices.DeleteFunc(own, func(g *gateway) bool { return !slices.Contains(t.candidates, g) })
		if len(own) == 0 {
			// One message can follow the rules of one gateway only. The sender tries
			// the deferred recipients again in a transaction of their own.
			return refuse(Reply{452, "4.5.3", "recipient is behind another gateway, send it separately"},
				Reason{OtherGateway, "behind gateway " + first.Name + ", while the message is one of gateway " + t.candidates[0].Name})
		}
	}
	t.candidates = own
	t.guarded = t.guarded || guarded
	return Decision{}
}

var aroundReply = Reply{550, "5.7.1", "mail for this domain is taken only from its inbound gateway, send it to the domain's MX"}

// Header takes up the header of the message: it settles which gateway vouches for
// the message, finds the source, and lets checker, which may be nil,
// begin to authenticate the message. It reports whether the body is needed.
// What checker does ends with ctx, at the latest; and after Header, the transaction has to
// come to Finish or Abort.
func (t *Transaction) Header(ctx context.Context, header []Field, checker Checker) (wantBody bool) {
	t.header = header
	t.verdict = Verdict{Recipients: t.recipients, Reasons: t.reasons}
	v := &t.verdict
	if t.exempt {
		v.Direction = Exempt
		if t.login != "" {
			v.Direction = Outgoing
			t.checker = checker
		}
		return false
	}
	if refused, ok := t.refusal(); ok {
		// Who only observes, or asks why, wants to know all the same what else
		// there is to say.
		v.refuse(refused)
	}
	if t.secrets = t.findSecrets(ctx, v); v.Action == TempFail {
		return false
	}
	t.findGateway(v)
	v.Source = findSource(t.vouched(), &t.client, header)
	v.Reasons = append(v.Reasons, v.Source.reasons(t.vouched())...)
	if t.checker = checker; checker != nil {
		t.authenticator = checker.Begin(ctx, AuthRequest{Source: v.Source, Sender: t.sender, Header: header})
	}
	return t.authenticator != nil && t.authenticator.WantsBody()
}

// vouched returns the gateway that vouches for the message, or nil.
func (t *Transaction) vouched() *gateway {
	if t.verdict.Gateway == "" {
		return nil
	}
	return t.gateway
}

// Body takes the next piece of the body.
func (t *Transaction) Body(p []byte) {
	if t.authenticator != nil {
		t.authenticator.Write(p)
	}
}

// Finish decides on the whole message. If ctx ends before all rules have spoken, the
// message is refused for the time being.
func (t *Transaction) Finish(ctx context.Context) Verdict {
	v := &t.verdict
	if t.exempt {
		t.finishOutgoing(v)
		return *v
	}
	if v.Action == TempFail {
		return *v
	}
	t.policy.judgeSpam(ctx, t.vouched(), t.header, v)
	if t.authenticator != nil {
		v.Authentication = t.authenticator.Finish(ctx)
		t.authenticator = nil
		t.policy.judgeDMARC(t.vouched(), t.header, v)
	}
	if !v.Action.Refuses() {
		t.policy.edit(t, v)
	}
	return *v
}

// Abort ends the authentication of a message that does not come to its end.
func (t *Transaction) Abort() {
	if t.authenticator != nil {
		t.authenticator.Abort()
		t.authenticator = nil
	}
}

// SoFar returns what was decided when a transaction ends without a message. Its
// action is accept unless nothing of the message was left to take.
func (t *Transaction) SoFar() Verdict {
	v := Verdict{Recipients: t.recipients, Reasons: t.reasons}
	if d, refused := t.refusal(); refused {
		v.refuse(d)
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

// findSecrets returns the fields that bear the secret of each gateway.
func (t *Transaction) findSecrets(ctx context.Context, v *Verdict) map[*gateway][]int {
	var found map[*gateway][]int
	for _, g := range t.policy.gateways {
		if g.RequireHeader == nil {
			continue
		}
		fields, err := matching(ctx, g.RequireHeader, t.header)
		if err != nil {
			v.refuse(tooSlow())
			return nil
		}
		if found == nil {
			found = make(map[*gateway][]int)
		}
		found[g] = fields
	}
	return found
}

// tooSlow refuses a message for the time being.
func tooSlow() Decision {
	return refuse(Reply{451, "4.3.0", "message could not be examined in time, try again later"},
		Reason{TimeLimit, "the time limit for one message ran out"})
}

// findGateway settles which gateway vouches for the message, now that the header
// can tell whether it bears the gateway's secret.
func (t *Transaction) findGateway(v *Verdict) {
	t.gateway = t.choose()
	switch {
	case t.gateway == nil:
	case t.gateway.RequireHeader == nil || len(t.secrets[t.gateway]) > 0:
		v.Gateway = t.gateway.Name
		v.note(FromGateway, "client "+t.client.IP.String()+" is a host of gateway "+t.gateway.Name)
	default:
		v.note(SecretMissing, "client "+t.client.IP.String()+" is a host of gateway "+t.gateway.Name+", but no field matches its require_header")
		if t.guarded {
			v.refuse(refuse(aroundReply, Reason{AroundGateway, "mail to this domain has to come from its gateway"}))
		}
	}
}

// choose returns the first candidate, or nil. If it demands a secret that the message
// lacks, another one whose secret is there comes first: but never one that demands
// none, or every message could do without.
func (t *Transaction) choose() *gateway {
	candidates := t.candidates
	if candidates == nil {
		// None of the domains is behind a gateway of this client, but its address is a
		// gateway's all the same: of one that may come with this TLS, if there is any.
		candidates = slices.Clone(t.vouching)
		slices.SortStableFunc(candidates, func(a, b *gateway) int {
			return cmp.Compare(a.decideTLS(&t.client).Action, b.decideTLS(&t.client).Action)
		})
	}
	if len(candidates) == 0 {
		return nil
	}
	if first := candidates[0]; first.RequireHeader == nil || len(t.secrets[first]) > 0 {
		return first
	}
	if i := slices.IndexFunc(candidates, func(g *gateway) bool { return len(t.secrets[g]) > 0 }); i >= 0 {
		return candidates[i]
	}
	return candidates[0]
}

func refuse(r Reply, why Reason) Decision {
	return Decision{Action: r.action(), Reply: r, Reasons: []Reason{why}}
}

// refuse makes the decision the verdict's, unless the message is refused already.
func (v *Verdict) refuse(d Decision) {
	v.Reasons = append(v.Reasons, d.Reasons...)
	if !v.Action.Refuses() {
		v.Action, v.Reply = d.Action, d.Reply
	}
}

func (v *Verdict) note(code Code, text string) { v.Reasons = append(v.Reasons, Reason{code, text}) }

func (t *Transaction) note(code Code, text string) {
	t.reasons = append(t.reasons, Reason{code, text})
}
