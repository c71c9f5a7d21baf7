dnl For Sendmail, by gatemilter mta-setup sendmail, from the configuration {{.Path}}.
dnl Write it anew instead of changing it. As /etc/mail/gatemilter.m4, sendmail.mc includes
dnl it in its last line, behind all mailers:
dnl include(`/etc/mail/gatemilter.m4')dnl
dnl (All of it is one quoted text, so that including it twice does no harm: there must be no
dnl single quotes in the comments below.)
ifdef(`_GATEMILTER_M4_', `errprint(`gatemilter.m4 is included twice: once will do
')', `define(`_GATEMILTER_M4_', `1')dnl

# gatemilter: its milter, in front of others, which then see its results and no forged
# fields. Without it, mail is refused for the time being (F=T).
MAIL_FILTER(`gatemilter', `S={{.Milter}}, F=T, T=C:10s;S:10s;R:60s;E:2m')dnl
ifelse(defn(`confINPUT_MAIL_FILTERS')X, `X', `define(`confINPUT_MAIL_FILTERS', `gatemilter')',
`define(`confINPUT_MAIL_FILTERS', `gatemilter, 'defn(`confINPUT_MAIL_FILTERS'))')dnl
{{- range .Macros}}
ifdef(`confMILTER_MACROS_{{.Stage}}', `define(`confMILTER_MACROS_{{.Stage}}', defn(`confMILTER_MACROS_{{.Stage}}')``, {{.Names}}'')',
`define(`confMILTER_MACROS_{{.Stage}}', ``{{.Names}}'')')dnl
{{- end}}
LOCAL_CONFIG
{{mark .Mark}}
{{- if .Mailers}}

dnl One process for each job of a queue run: what a host did to mail of one sender
dnl must not count for the others.
define(`confSEPARATE_PROC', `True')dnl
dnl They would take what waits for an answer of gatemilter, or for a host of a route.
ifdef(`confFALLBACK_MX', `errprint(`*** WARNING: gatemilter leaves confFALLBACK_MX out: that host would take mail whose way is not known
')undefine(`confFALLBACK_MX')')dnl
ifdef(`confFALLBACK_SMARTHOST', `errprint(`*** WARNING: gatemilter leaves confFALLBACK_SMARTHOST out: that host would take mail of routes whose hosts are down
')undefine(`confFALLBACK_SMARTHOST')')dnl
define(`_LOCAL_TLS_SERVER_')define(`_LOCAL_TLS_RCPT_')dnl
ifdef(`confCERT_FINGERPRINT_ALGORITHM', `', `define(`confCERT_FINGERPRINT_ALGORITHM', `sha256')')dnl

MAILER_DEFINITIONS
# gatemilter: a mailer for each port in use, of routes and of servers of users themselves.
# Their sender rules leave in {gmWay} which one delivers. m=1: a connection for each
# message, as the login is that of its sender. F=W: past failures of a host, which are
# those of other senders, do not count. At servers of users nothing is masqueraded: they take
# the address that is theirs.
{{- range .Mailers}}
M{{.Name}},	P=[IPC], F=mDFMuXa8W, S={{.Ruleset}}/{{.Header}}, R=MasqSMTP, E=\r\n, L=2040, m=1,
		T=DNS/RFC822/SMTP, A=TCP $h {{.Port}}
S{{.Ruleset}}
R$*			$: $>{{.Sender}} $1
R$*			$: $(gmset {gmWay} $@ {{.Way}} $) $(gmset {gmSent} $@ yes $) $1
{{- end}}
# All other mailers leave it empty.
SEnvFromSMTP
R$*			$: $(gmset {gmWay} $@ $) $1
SEnvFromL
R$*			$: $(gmset {gmWay} $@ $) $1

LOCAL_CONFIG
# gatemilter: kept in the queue file is who logged in.
C{persistentMacros} {gmLogin}
C{gmMailer}{{range .Mailers}} {{.Name}}{{end}}
C{gmKeep} nobody leave
{{- range .Domains}}
C{gmRecipientDomain} {{.}}
{{- end}}
# Its tables. -q: quotes stay in the question. -t -T<TMPF>: no answer shows, and does not
# count as "nothing known".
K{{.Tables.Own}} socket -q -d10 {{.Lookup}}
K{{.Tables.To}} socket -q -d10 {{.Lookup}}
K{{.Tables.Route}} socket -q -d10 {{.Lookup}}
K{{.Tables.Same}} socket -q -d10 -t -T<TMPF> {{.Lookup}}
K{{.Tables.TLS}} socket -q -d40 -t -T<TMPF> {{.Lookup}}
K{{.Tables.Login}} socket -q -d40 -t -T<TMPF> {{.Lookup}}
Kgmset macro
# The first 16 octets of a fingerprint.
Kgmprint regex -s1 ^(.{47})
{{- range .Senders}}
C{gmSenderDomain} {{.}}
{{- end}}
{{- if or .Senders .SelfService}}

LOCAL_RULE_3
# gatemilter: what the configuration says of domains is by their names as they are written, so
# they are not replaced by those to which an alias in the DNS leads.
R$* < @ $={gmSenderDomain} > $*	$: $1 < @ $2 . > $3
{{- end}}
{{- if .SelfService}}
# Nor are those of any sender: users attach addresses at any time.
R$* < @ $+ . $~P > $*	$: < type $&{addr_type} > $1 < @ $2 . $3 > $4
R< type $- s > $* < @ $+ > $*	$: $2 < @ $3 . > $4
R< type $* > $*		$: $2
{{- end}}

LOCAL_RULE_0
# gatemilter: mail of those who logged in, and for domains with rules by recipient, to
# whomever it goes. A bounce of such mail ({gmSent}) is not theirs, nor is the address of
# the sender a recipient ({addr_type}). Address literals never come to the rules below, so
# they are asked about here. Who logged in is settled once, when the message comes: a queue
# run for which a client asks (ETRN) knows the login of that client, who did not write it.
R$*			$: < $&{gmLogin} > < $&{auth_authen} > $1
R< > < > $*		$: $(gmset {gmLogin} $@ =nobody $) $1
R< > < $+ > $*		$: $(gmset {gmLogin} $@ $1 $) $2
R< $+ > < $* > $*	$: $3
R$*			$: < type $&{addr_type} > $1
R< type e s > $*	$: < leave > $1
R< type $* > $*		$: < sent $&{gmSent} > $2
R< sent yes > $*	$: < nobody > $1
R< sent > $*		$: < login $&{gmLogin} > $1
R< login =nobody > $*	$: < nobody > $1
R< login $+ > $* < @ $* > $*	$: < $({{.Tables.Own}} < $&{gmLogin} > ; < $&f > $: nobody $) > $2 < @ $3 > $4
{{- if .Domains}}
R< nobody > $* < @ $={gmRecipientDomain} . > $*	$: < $({{.Tables.To}} < $1@$2. > $: leave $) > $1 < @ $2 . > $3
{{- end}}
R< nobody > $* < @ [ $* ] > $*	$: $>gmRoute $1 < @ [ $2 ] > $3
R< $={gmMailer} : $+ > $* < @ $* > $*	$# $1 $@ $2 $: $3 < @ $4 > $5
R< $={gmKeep} > $*	$: $2
R< $+ > $* < @ $* > $*	$#error $@ 4.3.5 $: "451 gatemilter: sendmail.cf does not know this way, run gatemilter mta-setup sendmail --apply: " $1
# Here, before the others of the same name, the login at servers of users: only the
# first rules of a set that was begun before count.
Sauthinfo
R$*			$: < $&{gmWay} > $1
R< user $+ > $*		$: < ask > $({{.Tables.Login}} $&{gmWay} ; $&{server_addr} ; < $&h > ; < $&{gmLogin} > ; < $&f > $: ? $)
R< ask > ?		$# temp
R< ask > $* <TMPF>	$# temp
R< ask > $+		$# $1
R< $* > $*		$: $2
# The way by sender, in front of the recipient: by the address with which the message leaves,
# masqueraded as it will be. {gmFor} keeps for whom it was asked.
SgmRoute
R$*			$: < $&{gmSent} > $1
R< yes > $*		$@ < $({{.Tables.Route}} $&i ; < > $: leave $) > $(gmset {gmFor} $@ $) $1
R< > $*			$: $1 $| $>gmFrom $&f
R$* $| $*		$@ < $({{.Tables.Route}} $&i ; < $2 > $: leave $) > $(gmset {gmFor} $@ < $2 > $) $1
SgmFrom
R$@			$@
R< >			$@
R$+ @ $+		$: $1 < @ $2 . >
R$* < @ $* . . >	$: $1 < @ $2 . >
R$*			$: $>PseudoToReal $1
R$*			$: $>MasqSMTP $1
R$*			$: $>MasqEnv $1
R$*			$@ $>final $1
# What Sendmail asks before it gives mail to a host: ours here too before rules of the
# administrator, whose OK would else be one to what we refuse.
SLocal_tls_server
R$*			$: $1 $| $>gmServer $1
R$* $| $#$*		$#$2
R$* $| $*		$: $1
SLocal_tls_rcpt
R$*			$: $1 $| $>gmRecipient $1
R$* $| $#$*		$#$2
R$* $| $*		$: $1
# Whether the host is as demanded, in clear and with TLS. What mechanism the
# client used to log in here is forgotten: only our own login counts.
# An alias with an owner, or a milter, has the message leave with another sender than that for
# whom the way was asked. Where it is not the same, the next attempt takes the right one. (At
# servers of users, there is no login for another sender; and a program of this host that speaks
# LMTP has a name for address.)
SgmServer
R$*			$: < $&{gmWay} > $&{server_addr}
R< user $* > $*		$: ok
R< > $-			$: ok
R< > [ UNIX $*		$: ok
R< $* > $*		$: asked $| $>gmFrom $&f
Rasked $| $*		$: < $1 >
R$&{gmFor}		$: ok
R< $* >			$: < asked > $&{gmFor} ; < $1 >
R< asked > ; $*		$: ok
R< asked > $*		$: $({{.Tables.Same}} < $&{gmLogin} > ; $1 $: ? $)
Rok			$@ $>gmConnected
Rother			$#error $@ 4.7.0 $: "454 gatemilter: the sender has changed, and with it the way, which the next attempt takes"
R$*			$#error $@ 4.3.0 $: "454 gatemilter: no answer, so nothing is sent"
SgmConnected
R$*			$: < $&{gmWay} > $1
R< > $*			$@ OK
R$*			$: $(gmset {auth_type} $@ none $) $1
R$*			$: < $&{gmWay} > $&h
R< user $* > $*		$: < $&{gmLogin} >
R< route $* > [ $* ] $*	$: < >
R< route $* > $*	$: < $&{server_name} >
R< $* >			$: < $1 > $(gmprint $&{cert_fp} $: $)
R< $* > $*		$: $({{.Tables.TLS}} $&{gmWay} ; $&{server_addr} ; $&{tls_version} ; $2 ; < $&h > ; < $1 > $: ? $)
Rok			$@ OK
Rno $+			$#error $@ 4.7.0 $: "454 gatemilter: " $1
R$*			$#error $@ 4.3.0 $: "454 gatemilter: no answer, so nothing is sent"
# Sendmail goes on without login where it is refused, or not offered.
SgmRecipient
R$*			$: < $&{gmWay} > $&{auth_type}
R< user $+ >		$#error $@ 4.7.0 $: "454 gatemilter: the server of the user took no login"
R< user $+ > none	$#error $@ 4.7.0 $: "454 gatemilter: the server of the user took no login"
R$*			$@ OK
SParseLocal

LOCAL_NET_CONFIG
# gatemilter: mail that leaves, by its sender.
R$* < @ $* > $*		$: < type $&{addr_type} > $1 < @ $2 > $3
R< type e s > $*	$: < leave > $1
R< type $* > $*		$: $>gmRoute $2
R< $={gmMailer} : $+ > $* < @ $* > $*	$# $1 $@ $2 $: $3 < @ $4 > $5
R< leave > $*		$: $1
R< $+ > $* < @ $* > $*	$#error $@ 4.3.5 $: "451 gatemilter: sendmail.cf does not know this way, run gatemilter mta-setup sendmail --apply: " $1
{{- end}}
')dnl
