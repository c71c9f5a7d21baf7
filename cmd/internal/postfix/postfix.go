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
	"strings"
)

// A Postfix is an instance, by its configuration directory; "" is the default one.
type Postfix struct{ ConfigDir string }

// parameter returns the value of a parameter, unexpanded where it is a list.
func (p Postfix) parameter(ctx context.Context, name string) (string, error) {
	out, err := run(ctx, append(p.postconf(), "-h", name))
	return strings.TrimSpace(out), err
}

// services returns the lines of master.cf with single blanks, by "NAME/TYPE".
func (p Postfix) services(ctx context.Context) (map[string]string, error) {
	out, err := run(ctx, append(p.postconf(), "-M"))
	all := make(map[string]string)
	for line := range strings.Lines(out) {
		if words := strings.Fields(line); len(words) > 1 {
			all[words[0]+"/"+words[1]] = strings.Join(words, " ")
		}
	}
	return all, err
}

func (p Postfix) postconf() []string {
	if p.ConfigDir == "" {
		return []string{"postconf"}
	}
	return []string{"postconf", "-c", p.ConfigDir}
}

func run(ctx context.Context, command []string) (string, error) {
	out, _, err := runTalking(ctx, command)
	return out, err
}

// ErrNone says that there is no Postfix.
var ErrNone = errors.New("there is no postconf: install Postfix, or run this where it is")

// runTalking returns also what a command that succeeds has said on stderr.
func runTalking(ctx context.Context, command []string) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	switch err := cmd.Run(); {
	case errors.Is(err, exec.ErrNotFound):
		return "", "", ErrNone
	case err != nil:
		text := cmp.Or(strings.TrimPrefix(strings.TrimSpace(errs.String()), "postconf: "), err.Error())
		return "", "", fmt.Errorf("postconf: %s; see that Postfix is set up here, or name the directory of its main.cf with --postfix-config", text)
	}
	return out.String(), errs.String(), nil
}
