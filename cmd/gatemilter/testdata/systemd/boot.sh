# Boots systemd, as process 1 of its own namespaces, with a copy of this system's files above
# which it may write as it likes, and starts gatemilter's unit there. Nothing of this system is
# changed. Arguments: a directory with what is to be installed and run, for results too; and the
# name of a control group.
set -e
work=$1 group=$2
case $3 in
'')
	# Control groups of its own, too: systemd would put its own at the root of what it sees.
	mkdir "$work/cgroup"
	mount -t cgroup2 none "$work/cgroup"
	mkdir "$work/cgroup/$group"
	echo $$ >"$work/cgroup/$group/cgroup.procs"
	exec unshare --cgroup --pid --fork --kill-child --uts --ipc --net sh "$0" "$work" "$group" inside
	;;
esac

root=$work/fs/root
mkdir "$work/fs"
mount -t tmpfs none "$work/fs"
mkdir "$work/fs/upper" "$work/fs/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$work/fs/upper,workdir=$work/fs/work" none "$root"
mount -t proc none "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,ro,bind "$root/proc/sys"
mount -t sysfs -o ro none "$root/sys"
mount -t cgroup2 none "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
for dir in run tmp etc/systemd/system; do
	mount -t tmpfs none "$root/$dir"
done
# Of the system's own services there is only the journal.
for dir in "$root"/lib/systemd/system/*.wants; do
	mount -t tmpfs none "$dir"
done
install -m 0644 "$work/journald.conf" "$root/etc/systemd/journald.conf"

install -m 0755 "$work/gatemilter" "$root/usr/local/sbin/"
rm -rf "$root/etc/gatemilter" "$root/var/spool/postfix/gatemilter"
mkdir "$root/etc/gatemilter"
install -m 0644 "$work/gatemilter.conf" "$root/etc/gatemilter/"
install -m 0600 "$work/secret" "$root/etc/gatemilter/"
install -m 0644 "$work"/*.service "$work"/*.target "$root/etc/systemd/system/"
mkdir "$root/etc/systemd/system/gatemilter.service.d"
install -m 0644 "$work/local.conf" "$root/etc/systemd/system/gatemilter.service.d/"
grep -q ^gatemilter: "$root/etc/passwd" || chroot "$root" adduser --quiet --system --group --no-create-home gatemilter
mkdir "$root/run/test"
mount --bind "$work" "$root/run/test"

# systemd shows credentials to a service by mounting them, which has to reach it.
mount --make-rshared "$root"
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" \
	/lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=no
