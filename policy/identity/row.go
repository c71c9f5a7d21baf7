package identity

import (
	"fmt"
	"time"

	"gatemilter/policy"
)

// A row is a record as it is stored, in the database and in a snapshot: the password is
// encrypted. A record without a server has no host.
type row struct {
	Login    string `json:"login"`
	Address  string `json:"address"`
	Account  string `json:"account"`
	Name     string `json:"name,omitempty"`
	State    string `json:"state"`
	Disabled bool   `json:"disabled,omitempty"`
	Host     string `json:"host,omitempty"`
	Port     int64  `json:"port,omitempty"`
	TLS      string `json:"tls,omitempty"`
	Username string `json:"username,omitempty"`
	Password []byte `json:"password,omitempty"`
	Slot     int64  `json:"slot,omitempty"`
	// Created and Changed are microseconds since 1970.
	Created int64 `json:"created"`
	Changed int64 `json:"changed"`
}

// columns are in the order of fields and values. The first two are the key, so that what
// can't be read has a name nevertheless.
const columns = "login, address, account, name, state, disabled, host, port, tls, username, password, slot, created, changed"

func (w *row) fields() []any {
	return []any{&w.Login, &w.Address, &w.Account, &w.Name, &w.State, &w.Disabled, &w.Host, &w.Port, &w.TLS, &w.Username, &w.Password, &w.Slot, &w.Created, &w.Changed}
}

func (w *row) values() []any {
	if w.Password == nil {
		w.Password = []byte{} // which is not NULL
	}
	return []any{w.Login, w.Address, w.Account, w.Name, w.State, w.Disabled, w.Host, w.Port, w.TLS, w.Username, w.Password, w.Slot, w.Created, w.Changed}
}

// stored returns the row of a record, without its password.
func stored(r *Record) row {
	w := row{
		Login: r.Login, Address: r.Address, Account: r.Account, Name: r.Name, State: r.State.String(), Disabled: r.Disabled,
		Created: r.Created.UnixMicro(), Changed: r.Changed.UnixMicro(),
	}
	if g := r.Gateway; g != nil {
		w.Host, w.Port, w.TLS, w.Username, w.Slot = g.Host, int64(g.Port), g.TLS.String(), g.Username, int64(g.Slot)
	}
	return w
}

// record checks a row and returns the record. Where only the password can't be decrypted,
// the error wraps [ErrPassword], and the record is good but for that.
func (w *row) record(keys *Keyring) (Record, error) {
	r, err := w.plain()
	if err == nil {
		err = r.Check()
	}
	if err != nil {
		return Record{}, &RowError{w.Login, w.Address, err}
	}
	if r.Gateway == nil {
		return r, nil
	}
	password, err := keys.open(w)
	if err == nil {
		err = CheckPassword(password)
	}
	if err != nil {
		return r, &RowError{w.Login, w.Address, fmt.Errorf("%w: %w", ErrPassword, err)}
	}
	r.Gateway.Password = password
	return r, nil
}

// plain converts a row's columns. Texts that are often the same share their memory: there
// may be very many rows.
func (w *row) plain() (Record, error) {
	r := Record{
		Login: w.Login, Account: w.Account, Name: w.Name,
		Identity: policy.Identity{Address: w.Address, Disabled: w.Disabled},
		Created:  time.UnixMicro(w.Created).UTC(), Changed: time.UnixMicro(w.Changed).UTC(),
	}
	if r.Account == r.Login {
		r.Account = r.Login
	}
	switch w.State {
	case Pending.String():
	case Active.String():
		r.State = Active
	default:
		return r, invalid("state", "%q is neither pending nor active", printable(w.State))
	}
	if !inCalendar(r.Created) || !inCalendar(r.Changed) {
		return r, invalid("changed", "it is no time of a calendar")
	}
	if w.Host == "" {
		return r, nil
	}
	g := &policy.UserGateway{Host: w.Host, Port: uint16(w.Port), Username: w.Username, Slot: int(w.Slot)}
	if g.Username == r.Address {
		g.Username = r.Address
	}
	switch w.TLS {
	case policy.STARTTLS.String():
	case policy.ImplicitTLS.String():
		g.TLS = policy.ImplicitTLS
	default:
		return r, invalid("tls", "%q is neither starttls nor implicit", printable(w.TLS))
	}
	if int64(g.Port) != w.Port || int64(g.Slot) != w.Slot {
		return r, invalid("port", "%d, in slot %d, is no port", w.Port, w.Slot)
	}
	r.Gateway = g
	return r, nil
}

// inCalendar says whether a time can be written in four digits for the year: JSON takes no other
// (RFC 3339, section 1), and one such row must not keep all others from being exported.
func inCalendar(t time.Time) bool { return t.Year() >= 0 && t.Year() <= 9999 }

// sameServer says whether a password for one is one for the other: see [Keyring].
func (w *row) sameServer(o *row) bool {
	return w.Login == o.Login && w.Address == o.Address && w.Host == o.Host && w.Port == o.Port && w.TLS == o.TLS && w.Username == o.Username
}
