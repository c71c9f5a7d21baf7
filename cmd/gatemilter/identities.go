package main

import (
	"context"
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var identitiesCommand = command{
	name:    "identities",
	args:    identityWords() + " [LOGIN|FILE] [ADDRESS] [FLAGS]",
	summary: "see, change, move and re-encrypt the addresses that users have attached",
	help: `
Works on the database of [identities], beside a running daemon, which puts a change in
force within a second, and within two where another mail server shares the database. Each
change is in the log, with the user who made it. Run by root, it becomes the owner of the
database's directory first.

Actions
` + identityHelp() + `
list takes a LOGIN, an ADDRESS or @DOMAIN to show only what is of these. It shows the
addresses of the configuration, too; these are changed only there.

add tries the login at the server first, and vouches for the address: no code is sent. The
server's password is the only line of a file, or of standard input (--password-file -).
Without --server, the domain's servers deliver the address.

export writes a line of JSON for each address, to FILE, which must not be there yet, or to
standard output. With --with-passwords, it takes a FILE, that only its owner can read.

import reads such lines, or with --postfix-relayhost-maps and --postfix-sasl-passwd what
sender_dependent_relayhost_maps and smtp_sasl_password_maps of Postfix are made from; whose
the addresses are, --login says, or --owners, a FILE as for smtpd_sender_login_maps. All is
imported, or nothing: each line that can't be is shown, with what to do about it.

rekey encrypts all passwords with the first key of the key file. With --generate, it puts
a new key there first. Then the old ones can be removed.

Exit status: 0 when it is done, 1 when not, 2 when called wrongly.

With --json: list shows identities, a list of login, address, account, name, source
(database or configuration), state (active or pending), disabled, server (host, port, tls,
username, slot), created, changed, password_lost where it can't be decrypted, left_out
where it can't be used beside another one, and problem where there is one. show adds
history, a list of at, by, action, address, detail.

Examples
  gatemilter identities list @partner.example
  gatemilter identities add alice@example.com alice@partner.example --server smtp.partner.example --password-file -
  gatemilter identities disable alice@example.com alice@partner.example
  gatemilter identities import --postfix-relayhost-maps /etc/postfix/sender_relay --postfix-sasl-passwd /etc/postfix/sasl_passwd --owners /etc/postfix/sender_login --dry-run`,
	setUp: setUpIdentities,
	part:  partOf,
}

// setUpIdentities registers the flags of all actions.
func setUpIdentities(flags *flag.FlagSet) runner {
	var c identityCommand
	flags.StringVar(&c.config, "config", defaultConfig, "configuration `FILE`")
	flags.BoolVar(&c.json, "json", false, "show the result as JSON, for scripts (list, show)")
	flags.StringVar(&c.server, "server", "", "the user's own server, `HOST[:PORT]`, an IPv6 address in brackets; the port is 587, or 465 with --tls implicit (add)")
	flags.StringVar(&c.tls, "tls", "", "how the connection to it is protected, `MODE` starttls or implicit; without it, implicit on port 465 (add)")
	flags.StringVar(&c.username, "username", "", "the user's `NAME` at the server; without it, the address (add)")
	flags.StringVar(&c.passwordFile, "password-file", "", "`FILE` whose only line is the password at the server; - is standard input (add)")
	flags.StringVar(&c.name, "name", "", "the `NAME` that is shown to the user with the address (add)")
	flags.StringVar(&c.account, "account", "", "the account's own `ADDRESS`; without it, the login, or what the configuration says of it (add, import)")
	flags.BoolVar(&c.untested, "untested", false, "don't try the login (add)")
	flags.BoolVar(&c.withPasswords, "with-passwords", false, "write the passwords of users' servers too, in clear (export)")
	flags.StringVar(&c.relayhosts, "postfix-relayhost-maps", "", "import the senders of this `FILE`, as in sender_dependent_relayhost_maps (import)")
	flags.StringVar(&c.saslPasswords, "postfix-sasl-passwd", "", "take their logins from this `FILE`, as in smtp_sasl_password_maps (import)")
	flags.StringVar(&c.login, "login", "", "all of them are this user's, who logs in with `LOGIN` (import)")
	flags.StringVar(&c.owners, "owners", "", "whose they are is in this `FILE`: address and login on each line (import)")
	flags.BoolVar(&c.dryRun, "dry-run", false, "only show what would be done (import)")
	flags.BoolVar(&c.replace, "replace", false, "replace addresses that are there already (import)")
	flags.BoolVar(&c.generate, "generate", false, "put a new key on top of the key file first (rekey)")
	return func(ctx context.Context, args []string, io stdio) error {
		a, err := identityActionOf(args)
		if err != nil {
			return err
		}
		if err := a.checkCall(flags, args[1:]); err != nil {
			return err
		}
		c.io = io
		return a.run(&c, ctx, args[1:])
	}
}

// An identityCommand is a call of the command: its flags.
type identityCommand struct {
	config                                             string
	json                                               bool
	server, tls, username, passwordFile, name, account string
	untested, withPasswords                            bool
	relayhosts, saslPasswords, login, owners           string
	dryRun, replace, generate                          bool
	io                                                 stdio
}

// An identityAction is what the command's first argument names.
type identityAction struct {
	name, meaning string
	args          string // as in a usage line
	least, most   int    // of them
	flags         string // those that it takes, beside --config
	run           func(c *identityCommand, ctx context.Context, args []string) error
}

// identityActions are all, in the order of the help.
var identityActions = []identityAction{
	{"list", "show the addresses, all or some", "[LOGIN|ADDRESS|@DOMAIN]", 0, 1, "json", (*identityCommand).list},
	{"show", "show all about a user's addresses, or one of them, and who changed what", "LOGIN [ADDRESS]", 1, 2, "json", (*identityCommand).show},
	{"add", "attach an address to a user's account", "LOGIN ADDRESS", 2, 2, "server tls username password-file name account untested", (*identityCommand).add},
	{"disable", "forbid a user to write as an address of his", "LOGIN ADDRESS", 2, 2, "", (*identityCommand).disable},
	{"enable", "allow it again", "LOGIN ADDRESS", 2, 2, "", (*identityCommand).enable},
	{"remove", "take an address from a user", "LOGIN ADDRESS", 2, 2, "", (*identityCommand).remove},
	{"export", "write all that is in the database", "[FILE]", 0, 1, "with-passwords", (*identityCommand).export},
	{"import", "add what was exported, or what Postfix was told", "[FILE]", 0, 1, "postfix-relayhost-maps postfix-sasl-passwd login owners account dry-run replace", (*identityCommand).importAll},
	{"rekey", "encrypt all passwords anew, with the first key", "", 0, 0, "generate", (*identityCommand).rekey},
}

// partOf returns the usage of the action that the arguments name, or "".
func partOf(args []string) string {
	for _, arg := range args {
		for _, a := range identityActions {
			if a.name == arg {
				return a.usage()
			}
		}
	}
	return ""
}

// forActions ends what a flag does with the actions that take it.
var forActions = regexp.MustCompile(` \([a-z, ]+\)$`)

// usage is that of one action.
func (a identityAction) usage() string {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: gatemilter identities %s [FLAGS]\n\nTo %s.\n\nFlags\n", strings.TrimSpace(a.name+" "+a.args), a.meaning)
	flags := flag.NewFlagSet(a.name, flag.ContinueOnError)
	setUpIdentities(flags)
	flags.VisitAll(func(f *flag.Flag) {
		if f.Name == "config" || slices.Contains(strings.Fields(a.flags), f.Name) {
			_, text := flag.UnquoteUsage(f)
			writeFlag(&b, f, forActions.ReplaceAllString(text, ""))
		}
	})
	b.WriteString("\n\"gatemilter help identities\" says more, and what else there is\n")
	return b.String()
}

func identityWords() string {
	var words []string
	for _, a := range identityActions {
		words = append(words, a.name)
	}
	return strings.Join(words, "|")
}

func identityHelp() string {
	var b strings.Builder
	for _, a := range identityActions {
		fmt.Fprintf(&b, "  %-8s %s\n", a.name, a.meaning)
	}
	return b.String()
}

func identityActionOf(args []string) (identityAction, error) {
	words := strings.ReplaceAll(identityWords(), "|", ", ")
	if len(args) == 0 {
		return identityAction{}, usagef("say what to do: %s", words)
	}
	for _, a := range identityActions {
		if a.name == args[0] {
			return a, nil
		}
	}
	return identityAction{}, usagef("%q is none of %s", args[0], words)
}

// checkCall looks whether the action takes what it was given.
func (a identityAction) checkCall(flags *flag.FlagSet, args []string) error {
	if len(args) < a.least || len(args) > a.most {
		return usagef("%s, but got %s", strings.TrimSpace("write "+a.name+" "+a.args), count(len(args), "argument"))
	}
	takes := append(strings.Fields(a.flags), "config")
	var wrong error
	flags.Visit(func(f *flag.Flag) {
		if wrong == nil && !slices.Contains(takes, f.Name) {
			wrong = usagef("--%s is not for %s", f.Name, a.name)
		}
	})
	return wrong
}
