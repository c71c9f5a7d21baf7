package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"

	"gatemilter/cmd/internal/doctor"
	"gatemilter/policy/identity"
)

// identityStock counts what is in the database of a configuration. The command that lists it does
// so, in a process of its own, as that becomes another user if root runs it.
func identityStock(ctx context.Context, config string) (s doctor.Stock, err error) {
	cmd := exec.CommandContext(ctx, ourselves, "identities", "list", "--json", "--config", config)
	cmd.Args[0] = os.Args[0]
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(said.String()), "\n")
		if text := strings.TrimSuffix(strings.TrimPrefix(lines[len(lines)-1], "gatemilter: "), moreByDoctor); text != "" {
			return s, errors.New(text)
		}
		return s, err
	}
	var doc identitiesJSON
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		return s, err
	}
	s.Ports = make(map[uint16]int)
	for _, i := range doc.Identities {
		if i.Source != fromDatabase {
			continue
		}
		switch {
		case i.State == "":
			s.Bad++
		case i.Disabled:
			s.Disabled++
		case i.State == identity.Pending.String():
			s.Pending++
		default:
			s.Active++
			if i.Server != nil {
				s.Own++
			}
		}
		if i.LeftOut {
			s.LeftOut++
		}
		if i.Lost {
			s.Lost++
		}
		if i.Server != nil {
			s.Ports[i.Server.Port]++
		}
	}
	return s, nil
}
