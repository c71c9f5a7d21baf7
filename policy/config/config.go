package config

import (
	"fmt"
	"strings"

	"gatemilter/policy"
)

// A Config is a configuration without errors. It is not changed any more once it has
// been loaded.
type Config struct {
	Server         Server
	Log            Log
	DNS            DNS
	Authentication Authentication
	Identities     Identities
	Portal         Portal
	// Settings are what the files say about mail, and Policy is made of them.
	Settings policy.Settings
	Policy   *policy.Policy
	// Warnings are what is doubtful, but no reason to refuse the files.
	Warnings []Problem

	sections []*section
	files    []string
}

// parts are the sections that are compared with others, once all have been read.
type parts struct {
	server, auth, inbound, portal fields
	gateways                      []*gateway
	out                           outbound
}

// config makes a configuration of all sections, unless there are errors.
func (l *loader) config() (*Config, error) {
	c := &Config{sections: l.withDefaults(), files: l.files}
	needDatabase(c.sections)
	var p parts
	for _, sec := range c.sections {
		spec, _ := definition(sec.kind)
		c.read(&p, fields{&l.report, spec, sec})
	}
	c.compare(&p)
	if l.opensFiles {
		checkCAFiles(p.out.routes)
		readPasswords(p.out.userGateways)
		c.Portal.checkFiles(p.portal)
	}
	if len(l.errors) > 0 {
		return nil, Errors(inOrder(l.errors, l.files))
	}
	for _, g := range p.gateways {
		c.Settings.Gateways = append(c.Settings.Gateways, g.Gateway)
	}
	c.Policy = policy.New(c.Settings)
	c.Warnings = inOrder(l.warnings, l.files)
	return c, nil
}

// read reads one section.
func (c *Config) read(p *parts, f fields) {
	switch f.sec.kind {
	case serverSection:
		c.Server, p.server = f.server(), f
		c.Settings.Mode = f.mode()
	case logSection:
		c.Log = f.log()
	case dnsSection:
		c.DNS = f.dns()
	case authSection:
		c.Authentication, p.auth = f.authentication(), f
		c.Settings.DMARC = f.dmarc("dmarc", f)
	case inboundSection:
		c.Settings.InternalNetworks = f.internalNetworks()
		c.Settings.Allowlist = f.allowlist()
		p.inbound = f
	case gatewaySection:
		p.gateways = append(p.gateways, f.gateway(p.auth))
	case routeSection:
		p.out.routes = append(p.out.routes, f.route())
	case outSection:
		p.out.fields = f
	case senderSection:
		p.out.senders = append(p.out.senders, f)
	case rcptSection:
		p.out.recipients = append(p.out.recipients, f)
	case userSection:
		p.out.users = append(p.out.users, f)
	case userGWSection:
		p.out.userGateways = append(p.out.userGateways, f.userGateway())
	case idsSection:
		c.Identities = f.identities()
	case portalSection:
		c.Portal, p.portal = f.portal(), f
	}
}

// compare looks for what contradicts each other, and settles what several sections say together.
func (c *Config) compare(p *parts) {
	compare(&c.Settings, p.gateways, p.inbound)
	c.Settings.Outbound = p.out.settings()
	c.Settings.Outbound.SelfService = c.Identities.Database != ""
	c.Settings.Outbound.AccountDomain = c.Portal.AccountDomain
	c.checkPortal(p.portal, p.server, p.out.fields)
	compareRoutes(p.out.routes, c.Server)
	compareUserGateways(p.out.userGateways, c.Server)
	if c.Settings.Outbound.HasUserGateways() {
		p.server.needsUnix("lookup", c.Server.Lookup)
	}
}

// withDefaults returns all known sections in the order of the schema, with an empty
// one for each that is not named and not given.
func (l *loader) withDefaults() []*section {
	if len(l.sections) == 0 && l.failures == 0 {
		// A file that was cut off must not switch all rules off.
		l.fail(Problem{File: l.files[0], Text: "the file has no section: write at least [server]"})
	}
	var all []*section
	for _, spec := range schema {
		before := len(all)
		for _, sec := range l.sections {
			if sec.kind == spec.Name {
				all = append(all, sec)
			}
		}
		if len(all) == before && !spec.Named {
			all = append(all, &section{kind: spec.Name})
		}
	}
	return all
}

// String writes the configuration in force as one file, with all defaults and
// without secrets. It has no pointer receiver, so that a copy keeps its secrets too.
func (c Config) String() string {
	var b strings.Builder
	for i, sec := range c.sections {
		if i > 0 {
			b.WriteByte('\n')
		}
		spec, _ := definition(sec.kind)
		fmt.Fprintf(&b, "[%s]\n", sec.title())
		f := fields{nil, spec, sec}
		for _, key := range spec.Keys {
			if value := f.shown(key); value != "" {
				fmt.Fprintf(&b, "%s = %s\n", key.Name, value)
			}
		}
	}
	return b.String()
}

// shown returns what String writes for a key, or "" for nothing.
func (f fields) shown(key KeySpec) string {
	_, ineffective := f.missing(key)
	switch {
	case key.Name == includeKey:
		// The sections of included files are written themselves.
		return ""
	case ineffective:
		return ""
	case key.Secret && f.given(key.Name):
		return policy.SecretMask
	}
	return f.text(key.Name)
}

// GoString keeps secrets out of %#v.
func (c Config) GoString() string { return fmt.Sprintf("%q", c.String()) }
