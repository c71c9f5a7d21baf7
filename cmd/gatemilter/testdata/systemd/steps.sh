# What an administrator does with the service, step by step. What he sees is put into files.
cd /run/test
show() { systemctl show -P "$1" gatemilter; }
# wait until a command prints what is wanted; the test has a limit.
wait_for() { until "$@"; do :; done; }
status() { show StatusText | grep -q "$1"; }
watched() { test "$(show WatchdogTimestampMonotonic)" != "$1"; }
restarted() { test "$(show NRestarts)" = 1 && test "$(show ActiveState)" = active; }

systemctl start gatemilter && systemctl is-active gatemilter >active
stat -c '%n %U:%G %a' /var/spool/postfix/gatemilter /var/spool/postfix/gatemilter/* >sockets
cp "/proc/$(show MainPID)/status" process
show StatusText >status

wait_for watched "$(show WatchdogTimestampMonotonic)"

sed -i 's/^mode.*/mode = observe/' /etc/gatemilter/gatemilter.conf
systemctl reload gatemilter && wait_for status '^observe'
echo bogus >>/etc/gatemilter/gatemilter.conf
systemctl reload gatemilter && wait_for status '^the last configuration was refused'
sed -i '/bogus/d' /etc/gatemilter/gatemilter.conf

kill -STOP "$(show MainPID)"
wait_for restarted

systemctl stop gatemilter
show Result >result
journalctl --sync
journalctl -o json -u gatemilter -t gatemilter _TRANSPORT=journal >journal
touch done
systemctl exit 0
