package portal

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"gatemilter/policy"
	"gatemilter/policy/identity"
)

// The fields of an address, and of its server.

func (v *visit) addressField(value string) *field {
	return &field{Name: "address", Label: v.lang.t("field.address"), Hint: v.lang.t("field.address.hint"), Value: value, Type: "email", Autocomplete: "off", InputMode: "email", Max: maxAddress}
}

func (v *visit) nameField(value string) *field {
	return &field{Name: "name", Label: v.lang.t("field.name"), Hint: v.lang.t("field.name.hint"), Value: value, Type: "text", Autocomplete: "name", Optional: true, Max: maxName}
}

// readName reads a display name.
func (v *visit) readName() (name string, f *field) {
	f = v.nameField(firstOf(v.value("name"), maxName))
	name = strings.Join(strings.Fields(v.value("name")), " ")
	if len(name) > maxName || !oneLine(name) {
		f.Error = v.lang.t("field.name.bad")
	}
	return name, f
}

// serverFields are those of a server; stored says that there is a password already.
func (v *visit) serverFields(g policy.UserGateway, stored bool) []*field {
	password := &field{Name: "password", Label: v.lang.t("field.password"), Hint: v.lang.t("field.password.hint"), Type: "password", Max: maxPassword,
		// Not one that the browser knows: least of all that for this page.
		Autocomplete: "new-password"}
	if stored {
		password.Hint, password.Optional = v.lang.t("field.password.stored"), true
	}
	return []*field{
		{Name: "host", Label: v.lang.t("field.host"), Hint: v.lang.t("field.host.hint"), Value: g.Host, Type: "text", Autocomplete: "off", InputMode: "url", Max: maxHost},
		{Name: "port", Label: v.lang.t("field.port"), Hint: v.lang.t("field.port.hint"), Type: "radio", Options: v.portOptions(portValue(g.Port, g.TLS))},
		{Name: "server_username", Label: v.lang.t("field.username"), Hint: v.lang.t("field.username.hint"), Value: g.Username, Type: "text", Autocomplete: "off", Max: maxUsername},
		password,
	}
}

// portValue is a port with how TLS begins there, as the form has it.
func portValue(port uint16, tls policy.UserTLS) string { return fmt.Sprintf("%d %s", port, tls) }

// portOptions are all that a user's server may have.
func (v *visit) portOptions(chosen string) (list []option) {
	for _, port := range v.ports() {
		for _, tls := range []policy.UserTLS{policy.ImplicitTLS, policy.STARTTLS} {
			if !tls.TakesPort(port) {
				continue
			}
			value := portValue(port, tls)
			list = append(list, option{Value: value, Label: v.lang.t("port."+tls.String(), "port", port), Checked: value == chosen})
		}
	}
	return list
}

// readServer reads what was entered of a server, and notes in the fields what is wrong. Stored
// is the server from before, or nil: its password stays as long as all else does.
func (v *visit) readServer(stored *policy.UserGateway) (*policy.UserGateway, []*field) {
	var g policy.UserGateway
	entered, withPort := bareHost(v.value("host"))
	if entered == "" {
		entered = v.value("host")
	}
	host, err := parseHost(entered)
	g.Host = firstOf(strings.TrimSpace(entered), maxHost)
	port := v.readPort(&g)
	username := strings.TrimSpace(v.value("server_username"))
	g.Username = firstOf(username, maxUsername)
	fields := v.serverFields(g, stored != nil)
	note := func(name, key string) { fieldOf(fields, name).Error = v.lang.t(key) }
	switch {
	case g.Host == "":
		note("host", "field.host.missing")
	case err != nil:
		note("host", "field.host.bad")
	case v.isOurs(host):
		note("host", "field.host.ours")
	}
	if withPort != 0 && withPort != g.Port && fieldOf(fields, "host").Error == "" {
		fieldOf(fields, "host").Error = v.lang.t("field.host.port", "port", withPort)
	}
	if !port {
		note("port", "field.port.missing")
	}
	switch {
	case g.Username == "":
		note("server_username", "field.username.missing")
	case strings.Contains(g.Username, ":"):
		note("server_username", "field.username.colon")
	case identity.CheckUsername(username) != nil:
		note("server_username", "field.username.bad")
	}
	if err == nil {
		g.Host = host
	}
	if problem := v.readPassword(&g, stored); problem != "" {
		note("password", problem)
	}
	if slices.ContainsFunc(fields, func(f *field) bool { return f.Error != "" }) {
		return nil, fields
	}
	return &g, fields
}

// readPassword reads the password, or stays with the stored one, and returns the text about what is
// wrong, or "".
func (v *visit) readPassword(g, stored *policy.UserGateway) (problem string) {
	g.Password = policy.NewSecret(v.r.PostFormValue("password"))
	switch {
	case g.Password.Reveal() == "" && stored == nil:
		return "field.password.missing"
	case g.Password.Reveal() == "" && (!sameServer(g, stored) || stored.Password.Reveal() == ""):
		// Who sits down before somebody's open browser must not have the password sent elsewhere.
		return "field.password.again"
	case g.Password.Reveal() == "":
		g.Password = stored.Password
	case identity.CheckPassword(g.Password) != nil:
		return "field.password.bad"
	}
	return ""
}

// readPort reads the port, which has to be one of those that are offered.
func (v *visit) readPort(g *policy.UserGateway) bool {
	entered := v.value("port")
	for _, port := range v.ports() {
		for _, tls := range []policy.UserTLS{policy.ImplicitTLS, policy.STARTTLS} {
			if tls.TakesPort(port) && entered == portValue(port, tls) {
				g.Port, g.TLS = port, tls
				return true
			}
		}
	}
	return false
}

// sameServer says whether a password for one server is one for the other, too.
func sameServer(a, b *policy.UserGateway) bool {
	return a != nil && b != nil && a.Host == b.Host && a.Port == b.Port && a.TLS == b.TLS && a.Username == b.Username
}

// isOurs says whether a name is that of our own server: mail would come back to it for ever.
func (v *visit) isOurs(host string) bool {
	_, err := netip.ParseAddr(host)
	return err != nil && strings.EqualFold(host, v.Config.Submission.Host)
}
