# Completion of gatemilter(8)'s arguments in bash, with or without the package bash-completion.

_gatemilter() {
    local commands flags='' word flag='' what='' n=0
    local -a operands=()
    local IFS=$' \t\n'
    # The table comes from the program: UPDATE_MAN=1 go test ./cmd/gatemilter -run TestS9MadeParts
    # begin table
    commands='serve,check,doctor,explain,route,test-expression,mta-setup,verify-tls,identities,help,version'
    case ${COMP_WORDS[1]} in
    serve)
        flags='--config=FILE --help'
        operands=()
        ;;
    check)
        flags='--config=FILE --help'
        operands=('FILE')
        ;;
    doctor)
        flags='--config=FILE --json --no-network --postfix-config=DIR --sendmail-cf=FILE --try= --help'
        operands=('')
        ;;
    explain)
        flags='--client-ip= --client-name= --config=FILE --helo= --json --mail-from= --rcpt-to= --tls=1.0,1.1,1.2,1.3,none --tls-certificate= --user= --help'
        operands=('FILE')
        ;;
    route)
        flags='--config=FILE --json --rcpt= --user= --help'
        operands=('')
        ;;
    test-expression)
        flags='--score= --help'
        operands=('' 'FILE')
        ;;
    mta-setup)
        flags='--apply --config=FILE --postfix-config=DIR --remove --sendmail-config=DIR --help'
        operands=('postfix,sendmail')
        ;;
    verify-tls)
        flags='--ca-file=FILE --config=FILE --implicit --json --sni= --timeout= --help'
        operands=('')
        ;;
    identities)
        flags='--account= --config=FILE --dry-run --generate --json --login= --name= --owners=FILE --password-file=FILE --postfix-relayhost-maps=FILE --postfix-sasl-passwd=FILE --replace --server= --tls=starttls,implicit --untested --username= --with-passwords --help'
        operands=('list,show,add,disable,enable,remove,export,import,rekey' 'FILE' '')
        ;;
    help)
        flags=''
        operands=('serve,check,doctor,explain,route,test-expression,mta-setup,verify-tls,identities')
        ;;
    version)
        flags=''
        operands=()
        ;;
    esac
    # end table

    # Go over the words before the cursor: count the operands, and see whether the last word is
    # a flag that waits for its value. Readline makes words of --flag=value, too: --flag, = and value.
    for word in "${COMP_WORDS[@]:2:COMP_CWORD-2}"; do
        if [[ -n $flag && $word == = ]]; then
            continue
        elif [[ -n $flag ]]; then
            flag=''
        elif [[ $word != -?* ]]; then
            n=$((n + 1))
        else
            word=${word#-}
            flag=" --${word#-}="
            [[ " $flags" == *"$flag"* ]] || flag=''
        fi
    done

    if ((COMP_CWORD == 1)); then
        what=$commands
    elif [[ -n $flag ]]; then
        what=" $flags "
        what=${what#*"$flag"}
        what=${what%% *}
    elif [[ $2 == -* ]]; then
        for word in $flags; do
            what+=" ${word%%=*}"
        done
    else
        what=${operands[n]-}
    fi

    # Readline itself completes file names best: it knows of quotes and ~.
    COMPREPLY=()
    case $what in
    FILE) compopt -o default ;;
    DIR) compopt -o dirnames ;;
    *) mapfile -t COMPREPLY < <(compgen -W "${what//,/ }" -- "$2") ;;
    esac
}

complete -F _gatemilter gatemilter
