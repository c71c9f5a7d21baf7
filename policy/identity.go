package policy

import (
	"slices"
	"strconv"
	"strings"
)

// A SenderAction is what happens when a user writes as an address that is not his.
type SenderAction uint8

// The message is refused, or the user's own address is put in, or it goes as it is.
const (
	RejectSender SenderAction = iota
	RewriteSender
	AcceptSender
)

// The fields that say who wrote and who sent (RFC 5322, section 3.6.2), and the one by
// which Postfix is told the way of one message: it is added and deleted again, so that
// milter_header_checks sees it and nobody else.
const (
	fieldFrom   = "From"
	fieldSender = "Sender"
	// fieldResentSender names who sent a message again (section 3.6.6).
	fieldResentSender = "Resent-Sender"
	RouteField        = ownPrefix + "Route"
)

// finishOutgoing decides on a message of a client that is exempt from the inbound rules.
func (t *Transaction) finishOutgoing(v *Verdict) {
	switch {
	case t.login == "":
	case t.policy.users.Len() > 0 || t.policy.incomplete:
		t.identify(v)
	default:
		forged := t.forgedByUser()
		v.noteForged(len(forged))
		t.remove(forged, v)
	}
}

// identify decides on a message of an authenticated client: whether it may bear its
// From and its envelope sender, and by whose servers it leaves.
//
// A login that nobody knows is left alone, except that it can't have the address of one that
// somebody knows. So is one that only the database knows, as other addresses than his own.
func (t *Transaction) identify(v *Verdict) {
	o := &t.policy.outbound
	w := t.writing()
	switch unknown := w.unknown(t.policy); {
	case t.policy.incomplete && (w.user == nil || unknown != ""):
		v.refuse(refuse(Reply{451, "4.3.0", "whether this account may send as that address is not known yet, try again later"},
			Reason{IdentitiesUnknown, "the identities in the database are not known yet"}))
	case unknown == "":
		w.leave(v)
	case o.UnknownSender == RewriteSender && w.account() != "":
		v.note(UnknownSender, unknown+"; it is rewritten (unknown_sender = rewrite)")
		w.rewrite(v)
	case o.UnknownSender == AcceptSender:
		v.note(UnknownSender, unknown+"; it is let through (unknown_sender = accept)")
		w.accept(v)
	default:
		v.refuse(refuse(Reply{553, "5.7.1", "this account may not send as that address, choose one of its own as From and envelope sender"},
			Reason{UnknownSender, unknown}))
	}
	if !v.Action.Refuses() {
		w.finish(v)
	}
}

// A writing is what an authenticated client wrote about the sender of a message, and
// what is to be changed of it.
type writing struct {
	*Transaction
	user    *User // nil if nobody knows the login
	authors []Author
	err     error // why authors are not known
	from    []int // the indexes of From fields
	senders []int // and of Sender fields

	// forged fields are those that only we may set; remove are others to be removed.
	forged, remove []int
	// newFrom and newSender are the fields to be written, or "".
	newFrom, newSender string
}

func (t *Transaction) writing() *writing {
	w := &writing{Transaction: t, user: t.policy.users.User(t.login)}
	var bodies []string
	for i := range t.header {
		switch f := &t.header[i]; {
		case f.Is(fieldFrom):
			w.from = append(w.from, i)
			bodies = append(bodies, f.Value)
		case f.Is(fieldSender), f.Is(fieldResentSender):
			w.senders = append(w.senders, i)
		}
	}
	w.forged = t.forgedByUser()
	if len(bodies) == 0 {
		// What the mail server writes there, if it does.
		bodies = []string{t.sender}
	}
	w.authors, w.err = Authors(bodies)
	if w.err != nil && !w.bound() {
		w.authors = suspects(bodies)
	}
	return w
}

// bound says whether the user may write as no other addresses than his own.
func (w *writing) bound() bool { return w.user != nil && !w.user.Open }

// own returns the user's identity for an address, or nil.
func (w *writing) own(address string) *Identity {
	if w.user == nil {
		return nil
	}
	return w.policy.identity(w.user, address)
}

// suspects are all addresses that a reader may see in From fields that can be read in
// several ways: who has none of his own to be compared with must not borrow another's.
func suspects(bodies []string) (found []Author) {
	for _, body := range bodies {
		words := strings.FieldsFunc(body[:min(len(body), maxFromLen)], func(r rune) bool { return strings.ContainsRune(" \t\r\n,;:<>()[]\"", r) })
		for _, word := range words {
			if strings.Contains(word, "@") {
				found = append(found, Author{Address: word})
			}
		}
	}
	return found
}

// unknown says which address the user may not have, or "".
func (w *writing) unknown(p *Policy) string {
	if w.err != nil && (w.bound() || slices.ContainsFunc(w.authors, func(a Author) bool { return w.own(a.Address) != nil })) {
		return "the author can't be told: " + w.err.Error()
	}
	for _, a := range w.authors {
		if !w.may(p, a.Address) {
			return "From has " + strconv.Quote(a.Address) + w.whose(a.Address)
		}
	}
	if w.sender != "" && !w.may(p, w.sender) {
		return "the envelope sender is " + strconv.Quote(w.sender) + w.whose(w.sender)
	}
	return ""
}

func (w *writing) whose(address string) string {
	canonical := CanonicalAddress(address)
	switch {
	case w.user == nil:
		return ", which belongs to another user; there is no section [user " + w.login + "]"
	case w.user.Has(canonical) || w.user.Has(WithoutExtension(canonical)):
		return ", which is one of the addresses of " + strconv.Quote(w.login) + " but is disabled or left out: see gatemilter identities show"
	case w.user.Open:
		return ", which belongs to another user than " + strconv.Quote(w.login)
	}
	return ", which is none of the addresses of " + strconv.Quote(w.login)
}

// may says whether the user may have an address.
func (w *writing) may(p *Policy, address string) bool {
	return w.own(address) != nil || !w.bound() && (!p.owned(address) || w.isAccount(p, address))
}

// isAccount says whether an address is that of the account of a login that nobody knows, while the
// database knows its user by another login: many servers take "dora" and "dora@example.com", and
// the portal is told the one, the mail server the other. Who has attached an address must not lose
// his own by that.
func (w *writing) isAccount(p *Policy, address string) bool {
	account := w.login
	if !strings.Contains(account, "@") && p.outbound.AccountDomain != "" {
		account += "@" + p.outbound.AccountDomain
	}
	account = CanonicalLogin(account)
	canonical := CanonicalAddress(address)
	if w.user != nil || canonical != account && WithoutExtension(canonical) != account {
		return false
	}
	foreign := func(u *User) bool { return !u.Open || u.Account != account || u.find(account) == nil }
	return !slices.ContainsFunc(p.users.Claimants(canonical), foreign) && !slices.ContainsFunc(p.users.Claimants(account), foreign)
}

// owned says whether an address is one of a user's, who may be forbidden to write as it.
func (p *Policy) owned(address string) bool {
	canonical := CanonicalAddress(address)
	return len(p.users.Claimants(canonical)) > 0 || len(p.users.Claimants(WithoutExtension(canonical))) > 0
}

// account returns the address of the user's account, or "" where nobody knows it.
func (w *writing) account() string {
	switch {
	case w.user != nil:
		return w.user.Account
	case strings.Contains(w.login, "@"):
		return CanonicalLogin(w.login)
	}
	return ""
}

// leave chooses the way of a message whose author is the user.
func (w *writing) leave(v *Verdict) {
	author := w.author()
	if author == nil {
		w.leaveAlone(v)
		return
	}
	if len(w.from) == 0 {
		w.newFrom = w.authors[0].Address // which the mail server may leave out
	}
	o := &w.policy.outbound
	switch {
	case author.Gateway != nil && o.AllowUserGateways:
		w.byGateway(v, author)
		return
	case author.Gateway != nil:
		v.note(UserGatewayIgnored, author.Address+" has a server of the user's own, "+author.Gateway.Nexthop()+", but allow_user_gateways = no")
	}
	if !o.Domains[Domain(author.Address)] {
		w.onBehalf(v)
		return
	}
	w.dropSenders(func(a Author) bool { return !w.may(w.policy, a.Address) })
	if w.sender != "" && (!o.Domains[Domain(w.sender)] || w.policy.UserGatewayOf(w.login, w.sender) != nil) {
		// Our servers can't vouch for the address of others; and what has a server of its
		// own may leave by that one only.
		v.Sender = author.Address
	}
}

// author returns the identity of the first author. For a user who is not bound it is nil where
// that is nobody's, or the account's address: so he writes like anybody else.
func (w *writing) author() *Identity {
	if len(w.authors) == 0 {
		return nil
	}
	i := w.own(w.authors[0].Address)
	if i != nil && !w.bound() && i.Address == w.user.Account && i.Gateway == nil {
		return nil
	}
	return i
}

// leaveAlone sends a message of a user who is not bound, and whose author has nothing to do with
// him. It must not take the way of an address of his that is only the envelope sender.
func (w *writing) leaveAlone(v *Verdict) {
	w.dropSenders(func(a Author) bool { return !w.may(w.policy, a.Address) })
	if w.sender != "" && w.policy.UserGatewayOf(w.login, w.sender) != nil {
		v.Sender = w.user.Account
	}
}

// byGateway sends a message by the user's own server: nothing in it may name the account
// here.
func (w *writing) byGateway(v *Verdict, author *Identity) {
	v.UserGateway = author.Gateway
	v.note(ByUserGateway, "mail as "+author.Address+" is for the user's own server, "+author.Gateway.Nexthop())
	if CanonicalAddress(w.sender) != author.Address {
		v.Sender = author.Address // without extension: the login is asked for by it
	}
	w.keepSender(author.Address)
}

// onBehalf lets the domain's servers send in the name of an address that is not theirs.
func (w *writing) onBehalf(v *Verdict) {
	if len(w.authors) > 0 && w.policy.outbound.Domains[Domain(w.authors[0].Address)] {
		return
	}
	account := w.user.Account
	if sender := w.own(w.sender); w.sender != "" && (sender == nil || sender.Address != account) {
		v.Sender = account
	}
	v.note(OnBehalf, "the author's address is of no domain of ours, so the account's, "+account+", is the envelope sender")
	if w.policy.outbound.SenderHeader && !w.keepSender(account) {
		w.newSender = account
	}
}

// keepSender removes all Sender fields but the first that names the address, and says
// whether there is one.
func (w *writing) keepSender(address string) (kept bool) {
	for _, i := range w.senders {
		named, err := Authors([]string{w.header[i].Value})
		if !kept && err == nil && len(named) == 1 && w.header[i].Is(fieldSender) && CanonicalAddress(named[0].Address) == address {
			kept = true
			continue
		}
		w.remove = append(w.remove, i)
	}
	return kept
}

// accept sends what the user may not have as it is, as far as the domain's servers can.
func (w *writing) accept(v *Verdict) {
	switch {
	case w.user == nil:
	case w.knowsAuthors():
		w.leave(v)
	default:
		w.onBehalf(v)
	}
}

// knowsAuthors says whether all authors are the user.
func (w *writing) knowsAuthors() bool {
	return w.err == nil && !slices.ContainsFunc(w.authors, func(a Author) bool { return !w.may(w.policy, a.Address) })
}

// dropSenders removes the Sender fields of which one address is foreign, or none can be
// told.
func (w *writing) dropSenders(foreign func(Author) bool) {
	for _, i := range w.senders {
		body := []string{w.header[i].Value}
		named, err := Authors(body)
		if err != nil {
			named = suspects(body)
		}
		if err != nil && w.bound() || slices.ContainsFunc(named, foreign) {
			w.remove = append(w.remove, i)
		}
	}
}

// rewrite puts the account's address in place of what the user may not have.
func (w *writing) rewrite(v *Verdict) {
	account := w.account()
	if !w.knowsAuthors() {
		w.newFrom = account
		if len(w.authors) == 1 && !strings.ContainsAny(w.authors[0].Name, "@<>") && w.authors[0].Name != "" {
			w.newFrom = w.authors[0].Name + " <" + account + ">"
		}
		w.remove = append(w.remove, w.from[min(1, len(w.from)):]...)
		w.authors, w.err = []Author{{Address: account}}, nil
		w.keepSender(account)
	}
	if w.sender != "" && !w.may(w.policy, w.sender) {
		v.Sender = CanonicalAddress(w.authors[0].Address)
	}
	w.leave(v)
}

// finish turns what was decided into edits.
func (w *writing) finish(v *Verdict) {
	v.noteForged(len(w.forged))
	remove := slices.Concat(w.forged, w.remove)
	slices.Sort(remove)
	if !w.Transaction.remove(slices.Compact(remove), v) {
		return
	}
	switch {
	case w.newFrom == "":
	case len(w.from) == 0:
		v.Edits = append(v.Edits, Edit{Op: AddField, Name: fieldFrom, Value: w.newFrom})
	default:
		v.Edits = append(v.Edits, Edit{Op: ChangeField, Name: fieldFrom, Value: w.newFrom, Index: 1})
	}
	if w.newSender != "" {
		v.Edits = append(v.Edits, Edit{Op: AddField, Name: fieldSender, Value: w.newSender})
	}
	if v.Sender != "" {
		v.Edits = append(v.Edits, Edit{Op: ChangeSender, Value: v.Sender})
	}
	if g := v.UserGateway; g != nil {
		// No other field of that name is left.
		v.Edits = append(v.Edits,
			Edit{Op: AddField, Name: RouteField, Value: g.Transport() + ":" + g.Nexthop()},
			Edit{Op: DeleteField, Name: RouteField, Index: 1})
	}
}
