package portal

import (
	"errors"
	"net/http"
	"strings"

	"gatemilter/policy/identity"
)

// confirmPage asks for the code. That of the link in the message stands in the form already; to
// follow the link changes nothing, as programs that look for viruses do so too.
func (v *visit) confirmPage() {
	r, ok := v.record(v.query("address"))
	switch {
	case !ok:
	case r.State == identity.Active:
		v.session.keep(&notice{Kind: "good", Text: v.lang.t("confirm.already", "address", r.Address)})
		v.home()
	default:
		code := v.query("code")
		if len(code) > maxCode || !oneLine(code) {
			code = ""
		}
		v.showConfirm(http.StatusOK, r, v.codeField(code), nil)
	}
}

func (v *visit) codeField(value string) *field {
	return &field{Name: "code", Label: v.lang.t("confirm.code"), Hint: v.lang.t("confirm.code.hint"), Value: value, Type: "text", Autocomplete: "one-time-code", Max: maxCode}
}

func (v *visit) showConfirm(status int, r identity.Record, f *field, n *notice) {
	v.showConfirming(status, confirming{Record: r}, f, n)
}

// A confirming is an address whose code is asked for.
type confirming struct {
	identity.Record
	// NoSlot says that its server can't be used, as too many do so already. Without it the address
	// can: Version is what the form for that needs.
	NoSlot  bool
	Version string
}

func (v *visit) showConfirming(status int, body confirming, f *field, n *notice) {
	v.show(status, &page{Name: "confirm", Title: v.lang.t("confirm.title"), Step: 3, Fields: []*field{f}, Notice: n, Body: body})
}

// confirm takes the code.
func (v *visit) confirm() {
	r, ok := v.record(v.value("address"))
	if !ok {
		return
	}
	code := strings.TrimSpace(v.value("code"))
	f := v.codeField(firstOf(code, maxCode))
	switch {
	case code == "":
		f.Error = v.lang.t("confirm.missing")
	case len(code) > maxCode || !oneLine(code):
		f.Error, f.Value = v.lang.t("confirm.wrong"), ""
	}
	if f.Error != "" {
		v.showConfirm(http.StatusUnprocessableEntity, r, f, nil)
		return
	}
	if wait := try(attempt{v.limits.enterAccount, r.Login}, attempt{v.limits.enterClient, network(v.client)}); wait > 0 {
		v.log(Event{Kind: Limited, Result: string(CodeEntered), Address: r.Address})
		v.showConfirm(http.StatusTooManyRequests, r, f, v.tooOften(wait))
		return
	}
	confirmed, err := v.Store.Confirm(v.r.Context(), v.by(), r.Login, r.Address, code)
	v.log(Event{Kind: CodeEntered, Result: resultOf(err), Reason: reasonOf(err), Address: r.Address})
	if err != nil {
		v.notConfirmed(r, f, err)
		return
	}
	key := "confirm.done"
	switch {
	case v.facts.Observe:
		key = "confirm.done.observe"
	case v.usesOwn(confirmed):
		key = "confirm.done.own"
	}
	n := &notice{Kind: "good", Text: v.lang.t(key, "address", r.Address, "server", serverOf(confirmed.Gateway))}
	n.More = []string{v.lang.t("confirm.program")}
	v.session.keep(n)
	v.home()
}

// notConfirmed says why the code didn't help.
func (v *visit) notConfirmed(r identity.Record, f *field, err error) {
	if errors.Is(err, identity.ErrNotFound) { // somebody has removed it meanwhile
		v.refuse(http.StatusNotFound, "noAddress")
		return
	}
	if errors.Is(err, identity.ErrNoSlot) {
		n := &notice{Kind: "bad", Text: v.lang.t("confirm.noSlot")}
		v.showConfirming(http.StatusUnprocessableEntity, confirming{r, true, version(r)}, f, n)
		return
	}
	status, n := v.failed(err)
	if errors.Is(err, identity.ErrWrongCode) || errors.Is(err, identity.ErrCodeExpired) {
		f.Error, n = n.Text, nil
	}
	v.showConfirm(status, r, f, n)
}

// sendCode sends another code.
func (v *visit) sendCode() {
	r, ok := v.record(v.value("address"))
	switch {
	case !ok:
	case r.State == identity.Active:
		v.home()
	case v.usesOwn(r) && r.Gateway.Password.Reveal() == "":
		v.session.keep(&notice{Kind: "bad", Text: v.lang.t("field.password.again")})
		v.redirect("/change", "address", r.Address)
	default:
		v.toConfirm(r.Address, v.sendLetter(r, nil))
	}
}

// removePage asks whether it is meant.
func (v *visit) removePage() {
	r, ok := v.record(v.query("address"))
	if ok {
		v.show(http.StatusOK, &page{Name: "remove", Title: v.lang.t("remove.title"), Body: r})
	}
}

// remove removes an address.
func (v *visit) remove() {
	r, ok := v.record(v.value("address"))
	if !ok {
		return
	}
	err := v.Store.Withdraw(v.r.Context(), v.by(), r.Login, r.Address)
	v.log(Event{Kind: RemovedOne, Result: resultOf(err), Address: r.Address})
	if err != nil && !errors.Is(err, identity.ErrNotFound) {
		status, n := v.failed(err)
		v.show(status, &page{Name: "remove", Title: v.lang.t("remove.title"), Notice: n, Body: r})
		return
	}
	v.session.keep(&notice{Kind: "good", Text: v.lang.t("remove.done", "address", r.Address)})
	v.home()
}
