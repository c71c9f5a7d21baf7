package relaymaps

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatemilter/policy"
	"gatemilter/policy/config"
	"gatemilter/policy/identity"
)

// A Found is an identity that tables hold. Its Account and Name are not known here.
type Found struct {
	identity.Record
	// File and Line are where it is.
	File string
	Line int
	// Note is what should be known of it, or "".
	Note string
}

// A Skipped is a line of which there is nothing to make, though nothing is wrong with it.
type Skipped Problem

// Owners tells whose an address is.
type Owners interface {
	// of returns the logins that have an address, which is in canonical form.
	of(address string) ([]string, error)
}

// OneOwner is for tables that are all one user's.
func OneOwner(login string) (Owners, error) {
	login, err := config.ParseLogin(login)
	return oneOwner(login), err
}

type oneOwner string

func (o oneOwner) of(string) ([]string, error) { return []string{string(o)}, nil }

// OwnersIn is for a table as in smtpd_sender_login_maps.
func OwnersIn(t *Table) Owners { return ownerTable{t} }

type ownerTable struct{ *Table }

func (t ownerTable) of(address string) ([]string, error) {
	e, ok := t.Table.bySender(address)
	if !ok {
		return nil, fmt.Errorf("%q is nobody's in %s: write a line for it there, the address and behind it the login", address, t.Name)
	}
	var logins []string
	for _, s := range strings.FieldsFunc(e.Value, isSeparator) {
		login, err := config.ParseLogin(s)
		if err != nil {
			return nil, fmt.Errorf("its owner (%s:%d): %w", t.Name, e.Line, err)
		}
		if !slices.Contains(logins, login) {
			logins = append(logins, login)
		}
	}
	if logins == nil {
		return nil, fmt.Errorf("%s:%d names no owner of it: write the login behind the address", t.Name, e.Line)
	}
	return logins, nil
}

func isSeparator(r rune) bool { return r == ',' || strings.ContainsRune(blanks, r) }

// bySender finds what a table has for a sender, as Postfix does.
func (t *Table) bySender(address string) (Entry, bool) {
	for _, key := range []string{address, policy.WithoutExtension(address), "@" + policy.Domain(address)} {
		if e, ok := t.Lookup(key); ok {
			return e, true
		}
	}
	return Entry{}, false
}

// Identities are those of the senders in relayhosts, with the logins in passwords.
func Identities(relayhosts, passwords *Table, owners Owners) (found []Found, skipped []Skipped, problems []Problem) {
	used := make(map[int]bool) // lines of passwords
	first := make(map[[2]string]int)
	for _, e := range relayhosts.Entries {
		list, line, err := identitiesOf(e, passwords, owners)
		switch {
		case errors.Is(err, errSkip):
			skipped = append(skipped, Skipped{relayhosts.Name, e.Line, err.Error()})
		case err != nil:
			problems = append(problems, Problem{relayhosts.Name, e.Line, err.Error()})
		}
		used[line] = true
		for _, f := range list {
			f.File, f.Line = relayhosts.Name, e.Line
			who := [2]string{f.Login, f.Address}
			if other, twice := first[who]; twice {
				problems = append(problems, Problem{relayhosts.Name, e.Line, fmt.Sprintf("%q is the address in line %d, written in another way: remove one of them", e.Key, other)})
				continue
			}
			first[who] = e.Line
			found = append(found, f)
		}
	}
	for _, e := range passwords.Entries {
		if !used[e.Line] {
			skipped = append(skipped, Skipped{passwords.Name, e.Line, fmt.Sprintf("%q is not used for any address here", e.Key)})
		}
	}
	return found, skipped, problems
}

// errSkip begins what is said of a line of which there is nothing to make.
var errSkip = errors.New("it names no server of its own")

// identitiesOf makes the identities of a line of relayhosts: one for each owner of the address.
// Line is that of the password.
func identitiesOf(e Entry, passwords *Table, owners Owners) (found []Found, line int, err error) {
	if strings.EqualFold(e.Value, "DUNNO") {
		return nil, 0, fmt.Errorf("%w (DUNNO), so its mail leaves like all other", errSkip)
	}
	if strings.HasPrefix(e.Key, "@") {
		return nil, 0, fmt.Errorf("%q is for a whole domain, whose addresses are not one user's: write a line for each address, or a section [sender %s] with a route into the configuration", e.Key, e.Key)
	}
	address, err := config.ParseAddress(e.Key)
	if err != nil {
		return nil, 0, err
	}
	if strings.ContainsFunc(e.Value, isSeparator) {
		return nil, 0, errors.New("it has several hosts: write the one at which the user has his account")
	}
	n, err := parseNexthop(e.Value)
	if err != nil && strings.Contains(e.Value, ":") && e.Value[0] != '[' {
		// It may well be a login, where somebody has confused the files.
		err = fmt.Errorf("what stands behind %q is no host with a port: write it without a transport, as in [smtp.partner.example]:587", e.Key)
	}
	if err != nil {
		return nil, 0, err
	}
	if !n.tls().TakesPort(n.port) {
		return nil, 0, fmt.Errorf("%q has the port %d, at which no user's server may be: write 25, 465, 587, or from 1024 to 65535", e.Value, n.port)
	}
	login, err := credentials(passwords, address, e.Value, n)
	if err != nil {
		return nil, login.line, err
	}
	logins, err := owners.of(address)
	if err != nil {
		return nil, login.line, err
	}
	var note string
	if n.mx {
		note = fmt.Sprintf("without brackets, Postfix asks the DNS for the MX hosts of %s: now it is the host itself", n.host)
	}
	for _, owner := range logins {
		f := Found{Note: note}
		f.Login, f.Address, f.State = owner, address, identity.Active
		f.Gateway = &policy.UserGateway{Host: n.host, Port: n.port, TLS: n.tls(), Username: login.username, Password: login.password}
		found = append(found, f)
	}
	return found, login.line, nil
}

// A login is an account at a server.
type login struct {
	line     int
	username string
	password policy.Secret
}

// credentials finds the login for a sender and his host, in the order in which Postfix's client
// looks for it.
func credentials(t *Table, address, dest string, n nexthop) (l login, err error) {
	e, ok := t.bySender(address)
	if !ok {
		e, ok = t.byHost(dest, n)
	}
	if !ok {
		return l, fmt.Errorf("%s has no login for it: write a line %s USER:PASSWORD there", t.Name, address)
	}
	l.line = e.Line
	username, password, colon := strings.Cut(e.Value, ":")
	l.username, l.password = username, policy.NewSecret(password)
	if !colon {
		err = errors.New("there is no colon in it")
	}
	if err == nil {
		err = identity.CheckUsername(username)
	}
	if err == nil {
		err = identity.CheckPassword(l.password)
	}
	if err != nil {
		return l, fmt.Errorf("its login (%s:%d): %w: write USER:PASSWORD", t.Name, e.Line, err)
	}
	return l, nil
}

// byHost finds what a table has for a host: its name, or what the client is told, which may be
// written in several ways.
func (t *Table) byHost(dest string, n nexthop) (Entry, bool) {
	keys := []string{n.host, lower(dest)}
	names := []string{fmt.Sprint(n.port)}
	for name, port := range services {
		if port == n.port {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	name := n.host
	if !n.mx {
		name = "[" + n.host + "]"
	}
	for _, port := range names {
		keys = append(keys, name+":"+port)
	}
	if n.port == policy.PortSMTP {
		keys = append(keys, name)
	}
	for _, key := range keys {
		if e, ok := t.Lookup(key); ok {
			return e, true
		}
	}
	return Entry{}, false
}
