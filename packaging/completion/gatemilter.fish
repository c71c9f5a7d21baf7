# Completion of gatemilter(8)'s arguments in fish.

# What stands at the cursor is the command.
function __gatemilter_begins
    test (count (commandline -opc)) -eq 1
end

# The command is the one that is named.
function __gatemilter_runs
    set -l words (commandline -opc)
    test (count $words) -gt 1; and test "$words[2]" = "$argv[1]"
end

complete -c gatemilter -f

# The rest comes from the program: UPDATE_MAN=1 go test ./cmd/gatemilter -run TestS9MadeParts
# begin table

complete -c gatemilter -n __gatemilter_begins -a serve -d 'run the daemon that the mail server calls for each message'
complete -c gatemilter -n '__gatemilter_runs serve' -l config -r -F -d 'configuration FILE'
complete -c gatemilter -n '__gatemilter_runs serve' -l help -d 'show how it is used'

complete -c gatemilter -n __gatemilter_begins -a check -d 'check a configuration and show all errors at once'
complete -c gatemilter -n '__gatemilter_runs check' -l config -r -F -d 'configuration FILE'
complete -c gatemilter -n '__gatemilter_runs check' -l help -d 'show how it is used'
complete -c gatemilter -n '__gatemilter_runs check' -F

complete -c gatemilter -n __gatemilter_begins -a doctor -d 'look whether everything is wired, reachable and safe, and say how to correct it'
complete -c gatemilter -n '__gatemilter_runs doctor' -l config -r -F -d 'configuration FILE'
complete -c gatemilter -n '__gatemilter_runs doctor' -l json -d 'show the result as JSON, for scripts'
complete -c gatemilter -n '__gatemilter_runs doctor' -l no-network -d 'leave out MX records, name servers, mail hosts, a database on another host, and what the portal needs of others'
complete -c gatemilter -n '__gatemilter_runs doctor' -l postfix-config -x -a '(__fish_complete_directories)' -d 'DIR of main.cf, if it is not Postfix\'s default'
complete -c gatemilter -n '__gatemilter_runs doctor' -l sendmail-cf -r -F -d 'configuration FILE of Sendmail, where there is no Postfix'
complete -c gatemilter -n '__gatemilter_runs doctor' -l try -x -d 'only try one SOCKET of gatemilter\'s, such as milter=unix:PATH, as the user who runs this'
complete -c gatemilter -n '__gatemilter_runs doctor' -l help -d 'show how it is used'

complete -c gatemilter -n __gatemilter_begins -a explain -d 'run the whole policy on a message file and show each step'
complete -c gatemilter -n '__gatemilter_runs explain' -l client-ip -x -d 'address of the connecting client, an IP'
complete -c gatemilter -n '__gatemilter_runs explain' -l client-name -x -d 'verified reverse NAME of the client'
complete -c gatemilter -n '__gatemilter_runs explain' -l config -r -F -d 'configuration FILE'
complete -c gatemilter -n '__gatemilter_runs explain' -l helo -x -d 'NAME that the client gave in HELO'
complete -c gatemilter -n '__gatemilter_runs explain' -l json -d 'show the result as JSON, for scripts'
complete -c gatemilter -n '__gatemilter_runs explain' -l mail-from -x -d 'envelope sender ADDRESS'
complete -c gatemilter -n '__gatemilter_runs explain' -l rcpt-to -x -d 'envelope recipient ADDRESS; may be given several times'
complete -c gatemilter -n '__gatemilter_runs explain' -l tls -x -a '1.0 1.1 1.2 1.3 none' -d 'TLS VERSION of the connection, such as 1.3; without it, in clear'
complete -c gatemilter -n '__gatemilter_runs explain' -l tls-certificate -x -d 'NAME in the client\'s verified certificate'
complete -c gatemilter -n '__gatemilter_runs explain' -l user -x -d 'LOGIN with which the client authenticated'
complete -c gatemilter -n '__gatemilter_runs explain' -l help -d 'show how it is used'
complete -c gatemilter -n '__gatemilter_runs explain' -F

complete -c gatemilter -n __gatemilter_begins -a route -d 'show which way outgoing mail of a sender takes, and why'
complete -c gatemilter -n '__gatemilter_runs route' -l config -r -F -d 'configuration FILE'
complete -c gatemilter -n '__gatemilter_runs route' -l json -d 'show the result as JSON, for scripts'
complete -c gatemilter -n '__gatemilter_runs route' -l rcpt -x -d 'recipient ADDRESS'
complete -c gatemilter -n '__gatemilter_runs route' -l user -x -d 'LOGIN with which the author has authenticated'
complete -c gatemilter -n '__gatemilter_runs route' -l help -d 'show how it is used'

complete -c gatemilter -n __gatemilter_begins -a test-expression -d 'try a spam_header expression on a header line or a message'
complete -c gatemilter -n '__gatemilter_runs test-expression' -l score -x -d 'THRESHOLD as spam_score would hold it'
complete -c gatemilter -n '__gatemilter_runs test-expression' -l help -d 'show how it is used'
complete -c gatemilter -n '__gatemilter_runs test-expression' -F

complete -c gatemilter -n __gatemilter_begins -a mta-setup -d 'show or make the mail server\'s settings for gatemilter'
complete -c gatemilter -n '__gatemilter_runs mta-setup' -l apply -d 'make the changes'
complete -c gatemilter -n '__gatemilter_runs mta-setup' -l config -r -F -d 'configuration FILE'
complete -c gatemilter -n '__gatemilter_runs mta-setup' -l postfix-config -x -a '(__fish_complete_directories)' -d 'DIR of main.cf, if it is not Postfix\'s default'
complete -c gatemilter -n '__gatemilter_runs mta-setup' -l remove -d 'undo them'
complete -c gatemilter -n '__gatemilter_runs mta-setup' -l sendmail-config -x -a '(__fish_complete_directories)' -d 'DIR of sendmail.mc'
complete -c gatemilter -n '__gatemilter_runs mta-setup' -l help -d 'show how it is used'
complete -c gatemilter -n '__gatemilter_runs mta-setup' -a 'postfix sendmail'

complete -c gatemilter -n __gatemilter_begins -a verify-tls -d 'connect to a mail host and show what its TLS is worth'
complete -c gatemilter -n '__gatemilter_runs verify-tls' -l ca-file -r -F -d 'trust the CAs in this PEM FILE instead of the system\'s'
complete -c gatemilter -n '__gatemilter_runs verify-tls' -l config -r -F -d 'configuration FILE, for a route'
complete -c gatemilter -n '__gatemilter_runs verify-tls' -l implicit -d 'begin with TLS instead of STARTTLS; the port is 465 then if none is given'
complete -c gatemilter -n '__gatemilter_runs verify-tls' -l json -d 'show the result as JSON, for scripts'
complete -c gatemilter -n '__gatemilter_runs verify-tls' -l sni -x -d 'ask the host for its certificate for NAME, or with none for no name (SNI); the default is its own name, or none with a configuration for Sendmail'
complete -c gatemilter -n '__gatemilter_runs verify-tls' -l timeout -x -d 'TIME for each step of the connection, such as 10s'
complete -c gatemilter -n '__gatemilter_runs verify-tls' -l help -d 'show how it is used'

complete -c gatemilter -n __gatemilter_begins -a identities -d 'see, change, move and re-encrypt the addresses that users have attached'
complete -c gatemilter -n '__gatemilter_runs identities' -l account -x -d 'the account\'s own ADDRESS; without it, the login, or what the configuration says of it (add, import)'
complete -c gatemilter -n '__gatemilter_runs identities' -l config -r -F -d 'configuration FILE'
complete -c gatemilter -n '__gatemilter_runs identities' -l dry-run -d 'only show what would be done (import)'
complete -c gatemilter -n '__gatemilter_runs identities' -l generate -d 'put a new key on top of the key file first (rekey)'
complete -c gatemilter -n '__gatemilter_runs identities' -l json -d 'show the result as JSON, for scripts (list, show)'
complete -c gatemilter -n '__gatemilter_runs identities' -l login -x -d 'all of them are this user\'s, who logs in with LOGIN (import)'
complete -c gatemilter -n '__gatemilter_runs identities' -l name -x -d 'the NAME that is shown to the user with the address (add)'
complete -c gatemilter -n '__gatemilter_runs identities' -l owners -r -F -d 'whose they are is in this FILE: address and login on each line (import)'
complete -c gatemilter -n '__gatemilter_runs identities' -l password-file -r -F -d 'FILE whose only line is the password at the server; - is standard input (add)'
complete -c gatemilter -n '__gatemilter_runs identities' -l postfix-relayhost-maps -r -F -d 'import the senders of this FILE, as in sender_dependent_relayhost_maps (import)'
complete -c gatemilter -n '__gatemilter_runs identities' -l postfix-sasl-passwd -r -F -d 'take their logins from this FILE, as in smtp_sasl_password_maps (import)'
complete -c gatemilter -n '__gatemilter_runs identities' -l replace -d 'replace addresses that are there already (import)'
complete -c gatemilter -n '__gatemilter_runs identities' -l server -x -d 'the user\'s own server, HOST[:PORT], an IPv6 address in brackets; the port is 587, or 465 with --tls implicit (add)'
complete -c gatemilter -n '__gatemilter_runs identities' -l tls -x -a 'starttls implicit' -d 'how the connection to it is protected, MODE starttls or implicit; without it, implicit on port 465 (add)'
complete -c gatemilter -n '__gatemilter_runs identities' -l untested -d 'don\'t try the login (add)'
complete -c gatemilter -n '__gatemilter_runs identities' -l username -x -d 'the user\'s NAME at the server; without it, the address (add)'
complete -c gatemilter -n '__gatemilter_runs identities' -l with-passwords -d 'write the passwords of users\' servers too, in clear (export)'
complete -c gatemilter -n '__gatemilter_runs identities' -l help -d 'show how it is used'
complete -c gatemilter -n '__gatemilter_runs identities' -a 'list show add disable enable remove export import rekey'
complete -c gatemilter -n '__gatemilter_runs identities' -F

complete -c gatemilter -n __gatemilter_begins -a help -d 'show how a command is used'
complete -c gatemilter -n '__gatemilter_runs help' -a 'serve check doctor explain route test-expression mta-setup verify-tls identities'

complete -c gatemilter -n __gatemilter_begins -a version -d 'show the version'
# end table
