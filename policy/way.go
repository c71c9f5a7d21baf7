package policy

import (
	"context"
	"slices"
)

// A Way is how mail leaves: what a message of one user to one recipient would be told.
type Way struct {
	// Sender is the envelope sender with which it leaves.
	Sender string
	// Verdict is that on the sender; it is empty where nobody is logged in.
	Verdict Verdict
	// Gateway is the user's own server that takes the mail. Otherwise Route does; if
	// that is nil too, the mail server delivers by itself. Both are nil where
	// Verdict refuses the message.
	Gateway *UserGateway
	Route   *Route
	// Why is the rule that chose it.
	Why Reason
}

// WayOf returns the way of a message from that address, which is its author and its
// envelope sender. Login is the name by which its author has authenticated, recipient to
// whom it goes; both may be "", where nothing is known of them. Like RouteFor, it doesn't
// ask for the policy's mode.
func (p *Policy) WayOf(login, sender, recipient string) Way {
	w := Way{Sender: sender}
	if login != "" && !isNullSender(sender) {
		author := []Field{{Name: fieldFrom, Value: sender}}
		w.Verdict = p.Evaluate(context.Background(), &Message{Login: login, Sender: sender, Header: author}, nil)
		if w.Verdict.Sender != "" {
			w.Sender = w.Verdict.Sender
		}
	}
	switch w.Gateway = w.Verdict.UserGateway; {
	case w.Verdict.Action.Refuses():
		w.Why = w.Verdict.Reasons[len(w.Verdict.Reasons)-1]
	case w.Gateway != nil:
		w.Why = Reason{ByUserGateway, p.whence(login, w.Sender, w.Gateway)}
	default:
		if w.Route, w.Why = p.RouteTo(recipient); w.Route == nil {
			w.Route, w.Why = p.RouteFor(w.Sender)
		}
	}
	return w
}

// whence says where it is that a user has a server of his own.
func (p *Policy) whence(login, sender string, g *UserGateway) string {
	login, sender = CanonicalLogin(login), CanonicalAddress(sender)
	if u := p.outbound.Users[login]; u != nil {
		if i := p.identity(u, sender); i != nil && i.Gateway == g {
			return "[user-gateway " + login + " " + sender + "]"
		}
	}
	return "the identity " + login + " " + sender + " in the database"
}

// UserGatewayOf returns the user's own server for mail of that login with that envelope
// sender, or nil. Its sender alone tells the way of a message that was accepted, wherever
// From and sender have to agree: see [Transaction.Finish].
func (p *Policy) UserGatewayOf(login, sender string) *UserGateway {
	u := p.users.User(login)
	if u == nil || !p.outbound.AllowUserGateways {
		return nil
	}
	if i := p.identity(u, sender); i != nil {
		return i.Gateway
	}
	return nil
}

// Waits says why mail of that login with that envelope sender, which was accepted, must not leave
// at present, or returns "": its server may be one that is not known yet, or was forbidden since.
func (p *Policy) Waits(login, sender string) string {
	if login == "" || isNullSender(sender) || !p.outbound.AllowUserGateways {
		return ""
	}
	u := p.users.User(login)
	if u != nil && p.identity(u, sender) != nil {
		return ""
	}
	canonical := CanonicalAddress(sender)
	forbidden := func(i Identity) bool {
		return i.Disabled && i.Gateway != nil && (i.Address == canonical || i.Address == WithoutExtension(canonical))
	}
	switch {
	case p.incomplete:
		return "the identities in the database are not known yet"
	case u != nil && slices.ContainsFunc(u.Identities, forbidden):
		return "the identity " + u.Login + " " + canonical + " is disabled"
	}
	return ""
}
