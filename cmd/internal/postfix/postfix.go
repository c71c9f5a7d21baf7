// Package postfix wires gatemilter into a Postfix: it compares main.cf and
// master.cf with what is wanted, and says or makes the difference by postconf(1).
//
// It only ever adds an element of its own to a list, or a service of its own, and
// takes just these away again: what the administrator has set stays.
package postfix

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"gatemilter/policy"
	"gatemilter/policy/config"
)

// A Postfix is an instance, by its configuration directory; "" is the default one.
type Postfix struct{ ConfigDir string }

// Wanted is what a Postfix needs.
type Wanted struct {
	Elements []Element
	Services []Service
}

// An Element is one that a parameter of main.cf, a list, has to begin with; or, if it
// is Absent, one of ours that must not be there any more.
type Element struct {
	Parameter, Value string
	Absent           bool
}

// A Service is a line of master.cf: name and type as "NAME/TYPE", and the whole line, or
// "" for one of ours that must not be there any more.
type Service struct{ Name, Line string }

// A Change is one step, as a command to run, and what it changes.
type Change struct {
	Command []string
	// Parameter has the value Before, and After the change After; "" is unset.
	Parameter, Before, After string
}

// String writes the command as for a shell.
func (c Change) String() string {
	var words []string
	for _, w := range c.Command {
		if strings.ContainsAny(w, " ={}$") {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

// The services and sockets of gatemilter.
const (
	// routeService delivers along routes. Its TLS policy is asked by nexthop.
	routeService = policy.Transport + "/unix"
	systemRoots  = "/etc/ssl/certs/ca-certificates.crt"
)

// Wanted returns what this Postfix needs for a configuration.
func (p Postfix) Wanted(ctx context.Context, c *config.Config) (Wanted, error) {
	queue, err := p.parameter(ctx, "queue_directory")
	if err != nil {
		return Wanted{}, err
	}
	socket, err := address("milter", c.Server.Milter, queue)
	if err != nil {
		return Wanted{}, err
	}
	w := Wanted{Elements: []Element{{Parameter: "smtpd_milters", Value: socket}}}
	routes := len(c.Settings.Outbound.Routes) > 0
	tables, err := address("lookup", c.Server.Lookup, queue)
	if err != nil && routes {
		return Wanted{}, err
	}
	w.Elements = append(w.Elements, Element{"sender_dependent_default_transport_maps", "socketmap:" + tables + ":route", !routes})
	line := ""
	if routes {
		if line, err = p.routeLine(ctx, tables); err != nil {
			return Wanted{}, err
		}
	}
	w.Services = []Service{{routeService, line}}
	return w, nil
}

// routeLine is the service that delivers along routes. It is chrooted as the smtp client
// of other mail is, so that it finds what a chroot has to have, such as resolv.conf. What
// main.cf has for other mail's relay must not count here: TLS from the start, which no
// route has, and a fallback relay, which is none of the route's hosts.
func (p Postfix) routeLine(ctx context.Context, tables string) (string, error) {
	roots, err := p.parameter(ctx, "smtp_tls_CAfile")
	if err != nil {
		return "", err
	}
	chroot, err := run(ctx, append(p.postconf(), "-F", "-h", "smtp/unix/chroot"))
	return policy.Transport + " unix - - " + cmp.Or(strings.TrimSpace(chroot), "-") + " - - smtp" +
		" -o syslog_name=postfix/" + policy.Transport +
		" -o smtp_fallback_relay=" +
		" -o smtp_tls_wrappermode=no" +
		" -o smtp_tls_security_level=encrypt" +
		" -o smtp_tls_policy_maps=socketmap:" + tables + ":tls" +
		" -o smtp_tls_fingerprint_digest=sha256" +
		" -o smtp_tls_CAfile=" + cmp.Or(roots, systemRoots), err
}

// address is the first listener that Postfix can reach, as Postfix writes it. A
// socket in the queue directory is named relatively: so it is found chrooted or
// not.
func address(key string, listeners []config.Listener, queue string) (string, error) {
	for _, l := range listeners {
		if l.Network == "tcp" {
			return l.String(), nil
		}
		if path, err := filepath.Rel(queue, l.Address); err == nil && filepath.IsLocal(path) {
			return "unix:" + path, nil
		}
	}
	return "", fmt.Errorf("no socket of [server] %s is in Postfix's queue directory %s, which is all that a chrooted Postfix can reach; write %s = unix:%s/gatemilter/%s.sock", key, queue, key, queue, key)
}

// Plan returns the changes that bring in what is wanted, or take it out if remove is
// set. There are none where all is as it should be.
func (p Postfix) Plan(ctx context.Context, w Wanted, remove bool) ([]Change, error) {
	var changes []Change
	for _, e := range w.Elements {
		before, err := p.parameter(ctx, e.Parameter)
		if err != nil {
			return nil, err
		}
		after := with(before, e.Value)
		if remove || e.Absent {
			after = without(before, e.Value)
		}
		if after != before {
			changes = append(changes, p.change(e.Parameter, before, after))
		}
	}
	for _, s := range w.Services {
		before, err := p.service(ctx, s.Name)
		if err != nil {
			return nil, err
		}
		after := s.Line
		if remove {
			after = ""
		}
		if strings.Join(strings.Fields(after), " ") != before {
			changes = append(changes, p.serviceChange(s.Name, before, after))
		}
	}
	if !remove {
		// The service has to be there before mail is sent to it.
		slices.Reverse(changes)
	}
	return changes, nil
}

// service returns a line of master.cf with single blanks, or "".
func (p Postfix) service(ctx context.Context, name string) (string, error) {
	out, err := run(ctx, append(p.postconf(), "-M", name))
	return strings.Join(strings.Fields(out), " "), err
}

func (p Postfix) serviceChange(name, before, after string) Change {
	command := append(p.postconf(), "-M", "-e", name+" = "+after)
	if after == "" {
		command = append(p.postconf(), "-M", "-X", name)
	}
	return Change{command, "master.cf " + name, before, after}
}

func (p Postfix) change(parameter, before, after string) Change {
	command := append(p.postconf(), "-e", parameter+" = "+after)
	if after == "" {
		command = append(p.postconf(), "-X", parameter)
	}
	return Change{command, parameter, before, after}
}

// Apply makes the changes. What was made before an error stays made.
func (p Postfix) Apply(ctx context.Context, changes []Change) error {
	for _, c := range changes {
		if _, err := run(ctx, c.Command); err != nil {
			return err
		}
	}
	return nil
}

// elements splits a list as Postfix does: at commas and blanks, but not within braces.
func elements(list string) []string {
	var found []string
	depth, start := 0, 0
	for i, r := range list + "," {
		switch {
		case r == '{':
			depth++
		case r == '}':
			depth--
		case depth <= 0 && strings.ContainsRune(", \t\n", r):
			if i > start {
				found = append(found, list[start:i])
			}
			start = i + 1
		}
	}
	return found
}

// named is what an element names: in braces, settings of its own follow it.
func named(element string) string {
	inner, braced := strings.CutPrefix(element, "{")
	words := strings.FieldsFunc(strings.TrimSuffix(inner, "}"), func(r rune) bool { return strings.ContainsRune(", \t\n", r) })
	if !braced || len(words) == 0 {
		return element
	}
	return words[0]
}

// with returns the list with the element in front, where it isn't in the list.
func with(list, element string) string {
	if slices.ContainsFunc(elements(list), func(e string) bool { return named(e) == element }) {
		return list
	}
	if list == "" {
		return element
	}
	return element + ", " + list
}

// without returns the list without the element.
func without(list, element string) string {
	all := elements(list)
	rest := slices.DeleteFunc(slices.Clone(all), func(e string) bool { return named(e) == element })
	if len(rest) == len(all) {
		return list
	}
	return strings.Join(rest, ", ")
}

// parameter returns the value of a parameter, unexpanded where it is a list.
func (p Postfix) parameter(ctx context.Context, name string) (string, error) {
	out, err := run(ctx, append(p.postconf(), "-h", name))
	return strings.TrimSpace(out), err
}

func (p Postfix) postconf() []string {
	if p.ConfigDir == "" {
		return []string{"postconf"}
	}
	return []string{"postconf", "-c", p.ConfigDir}
}

func run(ctx context.Context, command []string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	switch err := cmd.Run(); {
	case errors.Is(err, exec.ErrNotFound):
		return "", errors.New("there is no postconf: install Postfix, or run this where it is")
	case err != nil:
		text := cmp.Or(strings.TrimPrefix(strings.TrimSpace(errs.String()), "postconf: "), err.Error())
		return "", fmt.Errorf("postconf: %s; see that Postfix is set up here, or name the directory of its main.cf with --postfix-config", text)
	}
	return out.String(), nil
}
