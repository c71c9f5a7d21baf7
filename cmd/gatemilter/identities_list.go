package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"gatemilter/cmd/internal/daemon"
	"gatemilter/policy"
	"gatemilter/policy/config"
	"gatemilter/policy/identity"
)

// Where an identity is.
const (
	fromDatabase      = "database"
	fromConfiguration = "configuration"
)

// The JSON form of an identity. Scripts rely on it: add to it, don't change it.
type identityJSON struct {
	Login    string              `json:"login"`
	Address  string              `json:"address"`
	Account  string              `json:"account,omitempty"`
	Name     string              `json:"name,omitempty"`
	Source   string              `json:"source"`
	State    string              `json:"state,omitempty"`
	Disabled bool                `json:"disabled"`
	Server   *identityServerJSON `json:"server,omitempty"`
	Created  *time.Time          `json:"created,omitempty"`
	Changed  *time.Time          `json:"changed,omitempty"`
	// Lost says that the password can't be decrypted.
	Lost bool `json:"password_lost,omitempty"`
	// LeftOut says that it can't be used beside the others.
	LeftOut bool   `json:"left_out,omitempty"`
	Problem string `json:"problem,omitempty"`
}

type identityServerJSON struct {
	Host     string `json:"host"`
	Port     uint16 `json:"port"`
	TLS      string `json:"tls"`
	Username string `json:"username"`
	Slot     int    `json:"slot"`
	gateway  *policy.UserGateway
}

type identitiesJSON struct {
	Identities []identityJSON `json:"identities"`
	History    []historyJSON  `json:"history,omitempty"`
}

type historyJSON struct {
	At      time.Time `json:"at"`
	By      string    `json:"by"`
	Action  string    `json:"action"`
	Address string    `json:"address,omitempty"`
	Detail  string    `json:"detail,omitempty"`
}

func serverJSON(g *policy.UserGateway) *identityServerJSON {
	if g == nil {
		return nil
	}
	return &identityServerJSON{g.Host, g.Port, g.TLS.String(), g.Username, g.Slot, g}
}

// recordJSON shows a record of the database; err is what is wrong with it.
func recordJSON(r identity.Record, err error) identityJSON {
	var bad *identity.RowError
	if errors.As(err, &bad) && !errors.Is(err, identity.ErrPassword) {
		return identityJSON{Login: bad.Login, Address: bad.Address, Source: fromDatabase, Problem: "is not used: " + bad.Err.Error()}
	}
	shown := identityJSON{Login: r.Login, Address: r.Address, Account: r.Account, Name: r.Name, Source: fromDatabase, State: r.State.String(), Disabled: r.Disabled,
		Server: serverJSON(r.Gateway), Created: &r.Created, Changed: &r.Changed}
	if r.Gateway != nil && r.Gateway.Password.Reveal() == "" {
		shown.Lost, shown.Problem = true, "its password can't be decrypted"
	}
	return shown
}

// list shows the addresses of the database and of the configuration.
func (c *identityCommand) list(ctx context.Context, args []string) error {
	wanted := func(login, address string) bool { return true }
	if len(args) == 1 {
		wanted = identityFilter(args[0])
	}
	s, err := c.open(false)
	if err != nil {
		return err
	}
	defer s.close()
	doc := identitiesJSON{Identities: configuredIdentities(s.cfg, wanted)}
	attached, err := s.attached(ctx, wanted)
	if err != nil {
		return s.explain(err, "", "")
	}
	doc.Identities = append(doc.Identities, attached...)
	slices.SortFunc(doc.Identities, func(a, b identityJSON) int {
		return cmp.Or(compareWho(a.Login, a.Address, b.Login, b.Address), strings.Compare(a.Source, b.Source))
	})
	if c.json {
		doc.Identities = append([]identityJSON{}, doc.Identities...) // [] rather than null
		return writeJSONDoc(doc, c.io.out)
	}
	if len(doc.Identities) == 0 {
		fmt.Fprintln(c.io.err, none(args))
		return nil
	}
	return c.writeList(doc.Identities)
}

// none says that a list is empty, and how else to ask where what was asked for is no address.
func none(args []string) string {
	if len(args) == 0 || strings.Contains(args[0], "@") {
		return "There are none."
	}
	return visible(fmt.Sprintf("There are none with the login %[1]q. For a domain, write @%[1]s; logins are written in full, as in alice@example.com.", args[0]))
}

// attached returns what the database has of those that are wanted. All that it has is read, as
// one may be in the way of another.
func (s *openStore) attached(ctx context.Context, wanted func(login, address string) bool) (list []identityJSON, err error) {
	users := make(map[string][]identity.Record)
	for r, err := range s.All(ctx) {
		var bad *identity.RowError
		if err != nil && !errors.As(err, &bad) {
			return nil, err
		}
		if err == nil || errors.Is(err, identity.ErrPassword) {
			users[r.Login] = append(users[r.Login], r)
		}
		if shown := recordJSON(r, err); wanted(shown.Login, shown.Address) {
			list = append(list, shown)
		}
	}
	_, leftOut := daemon.UsersOf(s.cfg, users)
	for n := range list {
		s.judge(&list[n], leftOut)
	}
	return list, nil
}

// judge says where an identity of the database does not count beside others.
func (s *openStore) judge(i *identityJSON, leftOut func(login, address string) string) {
	if u := s.cfg.Settings.Outbound.Users[i.Login]; i.Problem == "" && u != nil && u.Has(i.Address) {
		i.Problem = "the configuration goes before it"
	}
	if why := leftOut(i.Login, i.Address); why != "" {
		i.LeftOut = true
		i.Problem = strings.TrimPrefix(i.Problem+"; "+leftOutFor+why, "; ")
	}
}

// leftOutFor begins why an identity is left out.
const leftOutFor = "left out: "

// identityFilter takes what is of a login, an address, or a domain.
func identityFilter(text string) func(login, address string) bool {
	if strings.HasPrefix(text, "@") {
		domain := policy.CanonicalDomain(text[1:])
		return func(login, address string) bool {
			return policy.Domain(login) == domain || policy.Domain(address) == domain
		}
	}
	name := policy.CanonicalAddress(bare(text))
	return func(login, address string) bool { return login == name || address == name }
}

func configuredIdentities(cfg *config.Config, wanted func(login, address string) bool) (list []identityJSON) {
	for _, u := range cfg.Settings.Outbound.Users {
		for _, i := range u.Identities {
			if wanted(u.Login, i.Address) {
				list = append(list, identityJSON{Login: u.Login, Address: i.Address, Account: u.Account, Source: fromConfiguration, State: identity.Active.String(), Server: serverJSON(i.Gateway)})
			}
		}
	}
	return list
}

func (c *identityCommand) writeList(list []identityJSON) error {
	t := &text{tabwriter.NewWriter(c.io.out, 0, 8, 2, ' ', 0)}
	t.row("login", "address", "server", "state")
	for _, i := range list {
		t.row(i.Login, i.Address, i.server(), i.state())
	}
	return t.Flush()
}

// server shows the server in a table.
func (i *identityJSON) server() string {
	if i.Server == nil {
		return "-"
	}
	return serverOf(i.Server.gateway)
}

// state says in words how far an identity counts.
func (i *identityJSON) state() string {
	state := i.State
	switch {
	case i.Source == fromConfiguration:
		state = "configured"
	case i.Disabled && i.State == identity.Pending.String():
		state = "pending, disabled"
	case i.Disabled:
		state = "disabled"
	}
	problem := i.Problem
	if i.LeftOut { // the reason is long
		before, _, _ := strings.Cut(problem, leftOutFor)
		problem = before + "left out"
	}
	if problem == "" || state == "" {
		return state + problem
	}
	return state + ", but " + problem
}

// reason says why it is left out, or "".
func (i *identityJSON) reason() string {
	_, why, _ := strings.Cut(i.Problem, leftOutFor)
	return why
}

// maxHistory is how many changes are shown.
const maxHistory = 100

// show shows all about a user's addresses.
func (c *identityCommand) show(ctx context.Context, args []string) error {
	login, address := policy.CanonicalLogin(args[0]), ""
	if len(args) == 2 {
		address = policy.CanonicalAddress(bare(args[1]))
	}
	s, err := c.open(false)
	if err != nil {
		return err
	}
	defer s.close()
	wanted := func(l, a string) bool { return l == login && (address == "" || a == address) }
	doc := identitiesJSON{Identities: configuredIdentities(s.cfg, wanted)}
	attached, err := s.attached(ctx, wanted)
	if err != nil {
		return s.explain(err, login, address)
	}
	doc.Identities = append(doc.Identities, attached...)
	changes, err := s.History(ctx, login, address, maxHistory)
	if err != nil {
		return s.explain(err, login, address)
	}
	for _, change := range changes {
		doc.History = append(doc.History, historyJSON{change.At, change.By, string(change.Action), change.Address, change.Detail})
	}
	switch {
	case doc.Identities == nil && doc.History == nil && address != "":
		return s.explain(identity.ErrNotFound, login, address)
	case doc.Identities == nil && doc.History == nil:
		owners, err := s.ownersOf(ctx, login)
		if err != nil {
			return s.explain(err, login, "")
		}
		if len(owners) > 0 {
			return fmt.Errorf("%s is no login here, but an address of %s: write gatemilter identities show %s %s", login, strings.Join(owners, ", "), owners[0], login)
		}
		return fmt.Errorf("%s has attached no address, and the configuration has no [user %s]: gatemilter identities list shows who has", login, login)
	case c.json:
		doc.Identities = append([]identityJSON{}, doc.Identities...)
		return writeJSONDoc(doc, c.io.out)
	}
	return c.writeDetails(doc)
}

// ownersOf are the logins that have an address.
func (s *openStore) ownersOf(ctx context.Context, address string) (logins []string, err error) {
	wanted := func(_, a string) bool { return a == address }
	list, err := s.attached(ctx, wanted)
	for _, i := range append(configuredIdentities(s.cfg, wanted), list...) {
		if !slices.Contains(logins, i.Login) {
			logins = append(logins, i.Login)
		}
	}
	slices.Sort(logins)
	return logins, err
}

func (c *identityCommand) writeDetails(doc identitiesJSON) error {
	t := &text{tabwriter.NewWriter(c.io.out, 0, 8, 2, ' ', 0)}
	for n, i := range doc.Identities {
		if n > 0 {
			fmt.Fprintln(t)
		}
		t.row("Login", i.Login)
		t.row("Address", i.Address)
		if i.State == "" { // a row that can't be used
			t.row("State", i.state())
			continue
		}
		t.row("Account", i.Account)
		if i.Name != "" {
			t.row("Name", i.Name)
		}
		t.row("State", i.state())
		if i.LeftOut {
			fmt.Fprintf(t, "Left out\t%s\n", visible(i.reason()))
		}
		if i.Server == nil {
			t.row("Server", "none: the domain's servers deliver")
		} else {
			t.row("Server", serverOf(i.Server.gateway)+", "+i.Server.TLS)
			t.row("User name", i.Server.Username)
			t.row("Password", i.Server.gateway.Password.String())
			t.row("Slot", strconv.Itoa(i.Server.Slot))
		}
		if i.Created != nil {
			t.row("Added", i.Created.Format(time.RFC3339))
			t.row("Changed", i.Changed.Format(time.RFC3339))
		}
	}
	if len(doc.History) > 0 {
		if len(doc.Identities) > 0 {
			t.title("History, newest first")
		} else {
			t.row("Nothing now. History, newest first")
		}
		for _, h := range doc.History {
			t.row("  "+h.At.Format(time.RFC3339), h.By, h.Action, h.Address, h.Detail)
		}
	}
	return t.Flush()
}
