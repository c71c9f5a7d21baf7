package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"gatemilter/cmd/internal/relaymaps"
	"gatemilter/policy"
	"gatemilter/policy/config"
	"gatemilter/policy/identity"
)

// An exportedIdentity is a line of an export. Old exports have to be read for ever: add to it,
// don't change it.
type exportedIdentity struct {
	Login    string `json:"login"`
	Address  string `json:"address"`
	Account  string `json:"account,omitempty"`
	Name     string `json:"name,omitempty"`
	State    string `json:"state,omitempty"` // without it, active
	Disabled bool   `json:"disabled,omitempty"`
	// Server is HOST:PORT.
	Server   string     `json:"server,omitempty"`
	TLS      string     `json:"tls,omitempty"`
	Username string     `json:"username,omitempty"`
	Password string     `json:"password,omitempty"`
	Slot     int        `json:"slot,omitempty"`
	Created  *time.Time `json:"created,omitempty"`
	Changed  *time.Time `json:"changed,omitempty"`
}

func exported(r identity.Record, withPassword bool) exportedIdentity {
	e := exportedIdentity{Login: r.Login, Address: r.Address, Account: r.Account, Name: r.Name, State: r.State.String(), Disabled: r.Disabled, Created: &r.Created, Changed: &r.Changed}
	if g := r.Gateway; g != nil {
		e.Server, e.TLS, e.Username, e.Slot = serverOf(g), g.TLS.String(), g.Username, g.Slot
		if withPassword {
			e.Password = g.Password.Reveal()
		}
	}
	return e
}

// writeAll writes all records. What can't be exported in full is said, and is a finding at the
// end, lest a backup is taken for complete.
func (s *openStore) writeAll(ctx context.Context, w io.Writer, toFile, withPasswords bool, messages io.Writer) error {
	out := bufio.NewWriter(w)
	n, servers := 0, 0
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	lacking := false
	for r, err := range s.All(ctx) {
		var bad *identity.RowError
		switch {
		case err != nil && !errors.As(err, &bad):
			return s.explain(err, "", "")
		case err != nil && !errors.Is(err, identity.ErrPassword):
			lacking = true
			fmt.Fprintf(messages, "gatemilter: %s: left out\n", visible(err.Error()))
			continue
		case err != nil && withPasswords:
			lacking = true
			fmt.Fprintf(messages, "gatemilter: %s: exported without it; put the key of that time behind the present one in the key file, and export again\n", visible(err.Error()))
		}
		if err := lines.Encode(exported(r, withPasswords)); err != nil {
			return err
		}
		if n++; r.Gateway != nil {
			servers++
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if toFile {
		fmt.Fprintf(messages, "gatemilter: %s written\n", count(n, "line"))
	}
	if servers > 0 && !withPasswords {
		fmt.Fprintf(messages, "gatemilter: this is no backup of the passwords for users' servers (%d): export with --with-passwords for one\n", servers)
	}
	if lacking {
		return errFinding
	}
	return nil
}

// Limits of what is imported.
const (
	maxImportLine    = 64 << 10
	maxImportRecords = 1_000_000
)

// readExport reads lines of an export.
func readExport(name string, r io.Reader) (found []relaymaps.Found, problems []relaymaps.Problem, err error) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxImportLine)
	n := 0
	for in.Scan() {
		n++
		line := bytes.TrimSpace(in.Bytes())
		if len(line) == 0 {
			continue
		}
		record, err := parseExported(line)
		if err != nil {
			problems = append(problems, relaymaps.Problem{File: name, Line: n, Text: err.Error()})
			continue
		}
		found = append(found, relaymaps.Found{Record: record, File: name, Line: n})
		if len(found) > maxImportRecords {
			return nil, nil, fmt.Errorf("%s has more than %d lines: split it", name, maxImportRecords)
		}
	}
	if errors.Is(in.Err(), bufio.ErrTooLong) {
		return nil, nil, fmt.Errorf("%s:%d: the line has more than %d octets, as none of an export has: name a file that gatemilter identities export has written", name, n+1, maxImportLine)
	}
	return found, problems, in.Err()
}

// parseExported reads a line. Errors show no value, which may be a password.
func parseExported(line []byte) (r identity.Record, err error) {
	var e exportedIdentity
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return r, fmt.Errorf("it is no line of an export (%s): write it as gatemilter identities export does", jsonProblem(err))
	}
	if d.More() {
		return r, errors.New("it has more than one identity: write each on a line of its own")
	}
	r.Name, r.Disabled, r.State = e.Name, e.Disabled, identity.Active
	if r.Login, err = config.ParseLogin(e.Login); err != nil {
		return r, err
	}
	if r.Address, err = config.ParseAddress(e.Address); err != nil {
		return r, err
	}
	if e.Account != "" {
		if r.Account, err = config.ParseAddress(e.Account); err != nil {
			return r, err
		}
	}
	switch e.State {
	case "", identity.Active.String():
	case identity.Pending.String():
		r.State = identity.Pending
	default:
		return r, fmt.Errorf("its state is none of %s, %s: write one of these", identity.Active, identity.Pending)
	}
	if e.Created != nil {
		r.Created = *e.Created
	}
	r.Gateway, err = e.gateway()
	return r, err
}

// gateway reads the user's own server.
func (e *exportedIdentity) gateway() (*policy.UserGateway, error) {
	if e.Server == "" {
		if e.TLS != "" || e.Username != "" || e.Password != "" {
			return nil, errors.New("it has a login and no server: write \"server\" too")
		}
		return nil, nil
	}
	g := &policy.UserGateway{Username: e.Username, Password: policy.NewSecret(e.Password), Slot: e.Slot}
	switch e.TLS {
	case "starttls":
	case "implicit":
		g.TLS = policy.ImplicitTLS
	default:
		return nil, errors.New("its tls is none of starttls, implicit: write one of these")
	}
	var err error
	if g.Host, g.Port, err = config.ParseUserServer(e.Server, g.TLS); err != nil {
		return nil, err
	}
	if g.Username == "" {
		g.Username, _ = config.ParseAddress(e.Address)
	}
	if err := identity.CheckUsername(g.Username); err != nil {
		return nil, err
	}
	if e.Password != "" {
		return g, identity.CheckPassword(g.Password)
	}
	return g, nil
}

// jsonProblem is what is wrong with JSON, without what it holds.
func jsonProblem(err error) string {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &kind):
		return fmt.Sprintf("%s is not of the right kind", kind.Field)
	case errors.As(err, &syntax):
		return "it is no JSON"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "it is cut off"
	}
	return "it has something that is not known here"
}
