package postfix

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// Settings are what an instance has in force.
type Settings struct {
	// Main is main.cf with all defaults, and $names expanded.
	Main map[string]string
	// Milters is smtpd_milters as it is written.
	Milters string
	// Servers are the SMTP servers of master.cf, by name.
	Servers []Server
	// Overrides are what services have of their own in master.cf, in the order of that.
	Overrides []Override
	// Warnings are what postconf says against the files.
	Warnings []string
}

// An Override is a setting that a service of master.cf has itself, and that goes before main.cf.
type Override struct {
	Service          string // as postconf writes it: "cleanup/unix"
	Parameter, Value string
}

// A Server is a service of master.cf that runs smtpd(8).
type Server struct {
	Name string // as postconf writes it: "submission/inet"
	// Options are those that it has itself, which go before main.cf.
	Options map[string]string
}

// Settings asks postconf for all that is set.
func (p Postfix) Settings(ctx context.Context) (Settings, error) {
	s := Settings{Main: make(map[string]string)}
	var said strings.Builder
	ask := func(args ...string) (string, error) {
		out, errs, err := runTalking(ctx, append(p.postconf(), args...))
		said.WriteString(errs)
		return out, err
	}
	main, err := ask("-x")
	if err != nil {
		return s, err
	}
	for line := range strings.Lines(main) {
		name, value, _ := strings.Cut(line, "=")
		s.Main[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	if s.Milters, err = p.parameter(ctx, "smtpd_milters"); err != nil {
		return s, err
	}
	if _, err := ask("-n"); err != nil {
		return s, err
	}
	options, err := ask("-P", "-x")
	if err != nil {
		return s, err
	}
	services, err := p.services(ctx)
	s.Overrides, s.Warnings = overrides(options), warnings(said.String())
	s.Servers = servers(services, s.Overrides)
	return s, err
}

// overrides reads lines of the form "NAME/TYPE/PARAMETER = VALUE".
func overrides(options string) []Override {
	var all []Override
	for line := range strings.Lines(options) {
		path, value, _ := strings.Cut(line, " =")
		if slash := strings.LastIndexByte(path, '/'); slash >= 0 {
			all = append(all, Override{path[:slash], path[slash+1:], strings.TrimSpace(value)})
		}
	}
	return all
}

// servers finds the SMTP servers among services, and their options.
func servers(services map[string]string, options []Override) []Server {
	var found []Server
	for name, line := range services {
		const command = 7
		if words := strings.Fields(line); len(words) > command && words[command] == "smtpd" {
			found = append(found, Server{name, make(map[string]string)})
		}
	}
	slices.SortFunc(found, func(a, b Server) int { return strings.Compare(a.Name, b.Name) })
	for _, o := range options {
		if i := slices.IndexFunc(found, func(s Server) bool { return s.Name == o.Service }); i >= 0 {
			found[i].Options[o.Parameter] = o.Value
		}
	}
	return found
}

// Tables splits a list of tables, as in transport_maps.
func Tables(list string) []string { return elements(list) }

// Query asks a table, as postmap(1) does, and returns what it has for those of the keys that it
// knows.
func (p Postfix) Query(ctx context.Context, table string, keys ...string) (map[string]string, error) {
	command := []string{"postmap"}
	if p.ConfigDir != "" {
		command = append(command, "-c", p.ConfigDir)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, command[0], append(command[1:], "-q", "-", table)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(strings.Join(keys, "\n")+"\n"), &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		// So it is too where it knows none of the keys.
		if why := failure(errs.String()); why != "" || exit.ExitCode() != 1 {
			return nil, fmt.Errorf("postmap: %s", cmp.Or(why, err.Error()))
		}
	case err != nil:
		return nil, err
	}
	found := make(map[string]string)
	for line := range strings.Lines(out.String()) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			found[key] = value
		}
	}
	return found, nil
}

// failure is what postmap has said on stderr, in one line, or "" where it has only warned: then it
// goes on.
func failure(said string) string {
	var all []string
	failed := false
	for line := range strings.Lines(said) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "postmap: ")
		if line == "" || slices.Contains(all, line) {
			continue
		}
		failed = failed || !strings.HasPrefix(line, "warning: ")
		all = append(all, line)
	}
	if !failed {
		return ""
	}
	return strings.Join(all, "; ")
}

// UnsetOption returns the command that takes a setting of its own from a service, as for a shell.
func (p Postfix) UnsetOption(o Override) string {
	return p.Reloaded(Change{Command: append(p.postconf(), "-P", "-X", o.Service+"/"+o.Parameter)}.String())
}

// warnings are the lines that a program of Postfix's warns with, each once.
func warnings(said string) []string {
	var all []string
	for line := range strings.Lines(said) {
		_, text, ok := strings.Cut(strings.TrimSpace(line), "warning: ")
		if ok && !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return all
}

// A Milter is an element of smtpd_milters.
type Milter struct {
	Address string
	// Options are those that it has in braces, which go before main.cf.
	Options map[string]string
}

// Milters reads a list as in smtpd_milters.
func Milters(list string) []Milter {
	var all []Milter
	for _, element := range elements(list) {
		m := Milter{named(element), make(map[string]string)}
		for _, word := range words(element) {
			if name, value, ok := strings.Cut(word, "="); ok {
				m.Options[name] = value
			}
		}
		all = append(all, m)
	}
	return all
}

// words are what stands in the braces of an element, or the element itself.
func words(element string) []string {
	inner := strings.TrimSuffix(strings.TrimPrefix(element, "{"), "}")
	return strings.FieldsFunc(inner, func(r rune) bool { return strings.ContainsRune(", \t\n", r) })
}

// InFront returns a list of milters with that one first, wherever it was.
func InFront(list, address string) string {
	ours := address
	rest := slices.DeleteFunc(elements(list), func(e string) bool {
		if named(e) != address {
			return false
		}
		ours = e
		return true
	})
	return strings.Join(append([]string{ours}, rest...), ", ")
}

// WithOption returns a list of milters in which that one has an option with this value.
func WithOption(list, address, option, value string) string {
	all := elements(WithoutOption(list, address, option))
	for i, e := range all {
		if named(e) == address {
			all[i] = "{ " + strings.Join(append(words(e), option+"="+value), ", ") + " }"
		}
	}
	return strings.Join(all, ", ")
}

// WithoutOption returns a list of milters in which that one has an option no more.
func WithoutOption(list, address, option string) string {
	all := elements(list)
	for i, e := range all {
		if named(e) != address || !strings.HasPrefix(e, "{") {
			continue
		}
		rest := slices.DeleteFunc(words(e), func(w string) bool { return strings.HasPrefix(w, option+"=") })
		all[i] = address
		if len(rest) > 1 {
			all[i] = "{ " + strings.Join(rest, ", ") + " }"
		}
	}
	return strings.Join(all, ", ")
}

// Set returns the commands that give a parameter of main.cf a value, and put that in
// force, as for a shell.
func (p Postfix) Set(parameter, value string) string {
	return p.Reloaded(Change{Command: append(p.postconf(), "-e", parameter+" = "+value)}.String())
}

// Unset is Set for the default value.
func (p Postfix) Unset(parameter string) string {
	return p.Reloaded(Change{Command: append(p.postconf(), "-X", parameter)}.String())
}

// SetOption is Set for an option of a service. postconf takes no blanks there, and Postfix
// commas instead.
func (p Postfix) SetOption(s Server, parameter, value string) string {
	all := elements(value)
	for i, e := range all {
		if strings.HasPrefix(e, "{") {
			all[i] = "{" + strings.Join(words(e), ",") + "}"
		}
	}
	option := s.Name + "/" + parameter + "=" + strings.Join(all, ",")
	return p.Reloaded(Change{Command: append(p.postconf(), "-P", option)}.String())
}

// Reloaded appends to a command for a shell the one that puts changes of the files in force.
func (p Postfix) Reloaded(command string) string { return command + " && " + p.Postfix("reload") }

// Postfix returns a postfix(1) command for this instance, as for a shell.
func (p Postfix) Postfix(args ...string) string {
	return Change{Command: append(p.command(), args...)}.String()
}

func (p Postfix) command() []string {
	if p.ConfigDir == "" {
		return []string{"postfix"}
	}
	return []string{"postfix", "-c", p.ConfigDir}
}

// Status says whether the instance runs; only root is told.
func (p Postfix) Status(ctx context.Context) error {
	_, err := run(ctx, append(p.command(), "status"))
	return err
}
