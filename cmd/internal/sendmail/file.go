package sendmail

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"text/template"

	protocol "github.com/emersion/go-milter"

	"gatemilter/milter"
	"gatemilter/policy"
	"gatemilter/policy/config"
)

//go:embed gatemilter.m4
var fileText string

var fileTemplate = template.Must(template.New("gatemilter.m4").Funcs(template.FuncMap{"mark": Mark}).Parse(fileText))

// Mark is a line of sendmail.cf that says of which setup it is.
func Mark(setup string) string { return "# gatemilter: for the setup " + setup }

// Setup names what a configuration needs of Sendmail: two that need the same have the same
// name. The error is that of File.
func Setup(c *config.Config) (string, error) {
	text, err := render("", c, "")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8]), nil
}

// File is the m4 file for a configuration, which is in the file path. The error says all that
// Sendmail can't do.
func File(path string, c *config.Config) (string, error) {
	setup, err := Setup(c)
	if err != nil {
		return "", err
	}
	return render(path, c, setup)
}

func render(path string, c *config.Config, mark string) (string, error) {
	f := file{Path: path, Mark: mark}
	f.Tables = tables{TableOwn, TableTo, TableRoute, TableSame, TableTLS, TableLogin}
	for _, s := range stages {
		f.Macros = append(f.Macros, macros{s.name, strings.Join(milter.MacroNames(s.stage), ", ")})
	}
	var err error
	f.Milter, err = socket("milter", c.Server.Milter)
	o := &c.Settings.Outbound
	err = errors.Join(err, f.addOutbound(o, c.Portal.Ports))
	if len(f.Mailers) > 0 {
		var noLookup error
		f.Lookup, noLookup = socket("lookup", c.Server.Lookup)
		err = errors.Join(err, noLookup)
	}
	if c.Server.MTAUser == config.DefaultMTAUser && o.HasUserGateways() {
		err = errors.Join(err, fmt.Errorf("[server] mta_user is %q, but it is Sendmail that has to be told the logins: write mta_user = root, as which Sendmail delivers", c.Server.MTAUser))
	}
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = fileTemplate.Execute(&b, f)
	return b.String(), err
}

// A file is what the template needs.
type file struct {
	Path, Mark, Milter, Lookup string
	Macros                     []macros
	// Mailers are those that the ports of routes and users' own servers need.
	Mailers []mailer
	// Domains are those for which there are rules by recipient, Senders those of senders that
	// the configuration names.
	Domains, Senders []string
	// SelfService says that there are more senders than those, in a database.
	SelfService bool
	Tables      tables
}

type tables struct{ Own, To, Route, Same, TLS, Login string }

// macros are those of a stage, as of cf/README's confMILTER_MACROS_….
type macros struct{ Stage, Names string }

var stages = []struct {
	name  string
	stage protocol.Stage
}{
	{"CONNECT", protocol.StageConnect}, {"HELO", protocol.StageHelo}, {"ENVFROM", protocol.StageMailFrom}, {"ENVRCPT", protocol.StageRcptTo},
	{"DATA", protocol.StageData}, {"EOH", protocol.StageEOH}, {"EOM", protocol.StageEOM},
}

// A mailer is one of Sendmail's mailers: Way is what its sender rules leave in {gmWay}, Sender and
// Header are the rules that write the sender's addresses.
type mailer struct {
	Name, Ruleset, Way, Sender, Header string
	Port                               uint16
}

// maxCredential is how long a user name or password may be: Sendmail cuts what is longer than 256
// octets, in base64.
const maxCredential = 180

// maxMailers is for how many mailers there is room: Sendmail has room for 25, and some of
// its own.
const maxMailers = 12

// addMailers adds a mailer for each port in use.
func (f *file) addMailers(user bool, ports map[uint16]bool) {
	for _, port := range slices.Sorted(maps.Keys(ports)) {
		m := mailer{Mailer(port, false), fmt.Sprint("EnvFromGm", port), fmt.Sprint("route:", port), "EnvFromSMTP", "HdrFromSMTP", port}
		if user { // what masquerades nothing
			m = mailer{Mailer(port, true), fmt.Sprint("EnvFromGmUser", port), fmt.Sprint("user:", port), "EnvToSMTP", "EnvToSMTP", port}
		}
		f.Mailers = append(f.Mailers, m)
	}
}

// addOutbound adds what outgoing mail needs. Ports are those that users may choose themselves.
func (f *file) addOutbound(o *policy.Outbound, ports []uint16) error {
	var problems []error
	routePorts, userPorts := make(map[uint16]bool), make(map[uint16]bool)
	for _, r := range o.Routes {
		port, err := Port(r)
		if err != nil {
			err = fmt.Errorf("[route %s] %w; give them one port, or make a route of each port", r.Name, errors.Unwrap(err))
		} else if _, long := RouteWay(r, r.Hosts(func(int) int { return 0 })); long != nil {
			err = fmt.Errorf("[route %s] %w; name fewer", r.Name, errors.Unwrap(long))
		}
		problems, routePorts[port] = append(problems, err), true
	}
	o.UserGateways(func(login, address string, g *policy.UserGateway) {
		if _, err := UserWay(g); err != nil {
			problems = append(problems, fmt.Errorf("[user-gateway %s %s] %w; write tls = starttls and port 587, if the server can do that", login, address, err))
			return
		}
		if err := CheckLogin(g); err != nil {
			problems = append(problems, fmt.Errorf("[user-gateway %s %s] has %w; choose another", login, address, err))
		}
		userPorts[g.Port] = true
	})
	if f.SelfService = o.SelfService && o.AllowUserGateways; f.SelfService {
		problems = append(problems, addPorts(userPorts, ports))
	}
	f.addMailers(false, routePorts)
	f.addMailers(true, userPorts)
	if n := len(f.Mailers); n > maxMailers {
		problems = append(problems, fmt.Errorf("routes and users' own servers have %d different ports, for each of which Sendmail needs a mailer, and there is room for %d; use fewer", n, maxMailers))
	}
	f.Domains, f.Senders = domainsOf(maps.Keys(o.Recipients)), domainsOf(senders(o))
	return errors.Join(sortedProblems(problems)...)
}

// addPorts adds those that users may choose for servers of their own, at any time.
func addPorts(used map[uint16]bool, ports []uint16) error {
	for _, port := range ports {
		if port == policy.PortSubmissions {
			return fmt.Errorf("[portal] ports allows %d, where TLS is from the start, and Sendmail can't do that; write ports = 25, 587", port)
		}
		used[port] = true
	}
	return nil
}

// CheckLogin says why Sendmail can't log in to a user's own server.
func CheckLogin(g *policy.UserGateway) error {
	if n := max(len(g.Username), len(g.Password.Reveal())); n > maxCredential {
		return fmt.Errorf("a user name or password of %d octets, and Sendmail can't log in with more than %d", n, maxCredential)
	}
	return nil
}

// senders are the addresses and domains of senders that the configuration names.
func senders(o *policy.Outbound) iter.Seq[string] {
	return func(yield func(string) bool) {
		for rule := range o.Senders {
			if !yield(rule) {
				return
			}
		}
		more := true
		o.UserGateways(func(_, address string, _ *policy.UserGateway) { more = more && yield(address) })
	}
}

// domainsOf are the domains of addresses and rules, as A-labels and as they may be written.
func domainsOf(rules iter.Seq[string]) (domains []string) {
	for rule := range rules {
		domain := policy.Domain(rule)
		domains = append(domains, domain)
		if unicode := policy.UnicodeDomain(domain); unicode != domain {
			domains = append(domains, unicode)
		}
	}
	slices.Sort(domains)
	return slices.Compact(domains)
}

// sortedProblems puts problems into an order that is always the same.
func sortedProblems(problems []error) []error {
	problems = slices.DeleteFunc(problems, func(err error) bool { return err == nil })
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return problems
}

// socket is the first listener as Sendmail writes it.
func socket(key string, listeners []config.Listener) (string, error) {
	for _, l := range listeners {
		if l.Network == "unix" {
			return "local:" + l.Address, nil
		}
		host, port, err := net.SplitHostPort(l.Address)
		if err != nil {
			continue
		}
		if strings.Contains(host, ":") {
			return "inet6:" + port + "@[" + host + "]", nil
		}
		if n, err := strconv.Atoi(port); err == nil && n > 0 {
			return "inet:" + port + "@[" + host + "]", nil
		}
	}
	return "", fmt.Errorf("[server] %s names no socket for Sendmail; write %s = unix:/run/gatemilter/%s.sock", key, key, key)
}

// Failed is what stands in place of the file where there can be none: building sendmail.cf from it
// stops, instead of leaving gatemilter out.
const Failed = "errprint(`gatemilter mta-setup sendmail has failed: run it again to see why\n')m4exit(`1')\n"
