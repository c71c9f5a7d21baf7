package postfix

import (
	"context"
	"slices"
	"strings"

	"gatemilter/policy"
)

// A Change is one step, as a command to run, and what it changes.
type Change struct {
	Command []string
	// Parameter has the value Before, and After the change After; "" is unset. If
	// Service is set, it is a line of master.cf.
	Parameter, Before, After string
	Service                  bool
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

// Plan returns the changes that bring in what is wanted, or take it out if remove is
// set. There are none where all is as it should be.
func (p Postfix) Plan(ctx context.Context, w Wanted, remove bool) ([]Change, error) {
	var changes []Change
	for _, e := range w.Elements {
		before, err := p.parameter(ctx, e.Parameter)
		if err != nil {
			return nil, err
		}
		if after := e.in(before, remove); after != before {
			changes = append(changes, p.change(e.Parameter, before, after))
		}
	}
	added, removed, err := p.planServices(ctx, w.Services, remove)
	if err != nil {
		return nil, err
	}
	// A service has to be there as long as mail is sent to it.
	return slices.Concat(added, changes, removed), nil
}

// in returns a list with the element as it is wanted.
func (e Element) in(list string, remove bool) string {
	remove = remove || e.Absent
	after := without(list, func(element string) bool {
		former := element != e.Value && e.Former != nil && e.Former(element)
		return former || remove && named(element) == named(e.Value)
	})
	if remove {
		return after
	}
	return with(after, e.Value)
}

// planServices compares master.cf with the services that are wanted. Whatever else has a
// name of ours is of another configuration, and goes.
func (p Postfix) planServices(ctx context.Context, wanted []Service, remove bool) (added, removed []Change, err error) {
	before, err := p.services(ctx)
	if err != nil {
		return nil, nil, err
	}
	after := make(map[string]string)
	for _, s := range wanted {
		if !remove {
			after[s.Name] = s.Line
		}
	}
	for _, name := range ownServices() {
		switch line := after[name]; {
		case strings.Join(strings.Fields(line), " ") == before[name]:
		case line == "":
			removed = append(removed, p.serviceChange(name, before[name], line))
		default:
			added = append(added, p.serviceChange(name, before[name], line))
		}
	}
	return added, removed, nil
}

// ownServices are the names of all services that a configuration can need.
func ownServices() []string {
	names := []string{policy.Transport + "/unix"}
	for slot := range policy.MaxSlots {
		names = append(names, policy.UserTransport(false, slot)+"/unix", policy.UserTransport(true, slot)+"/unix")
	}
	return names
}

func (p Postfix) serviceChange(name, before, after string) Change {
	command := append(p.postconf(), "-M", "-e", name+" = "+after)
	if after == "" {
		command = append(p.postconf(), "-M", "-X", name)
	}
	return Change{command, "master.cf " + name, before, after, true}
}

func (p Postfix) change(parameter, before, after string) Change {
	command := append(p.postconf(), "-e", parameter+" = "+after)
	if after == "" {
		command = append(p.postconf(), "-X", parameter)
	}
	return Change{command, parameter, before, after, false}
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
