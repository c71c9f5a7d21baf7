# Boots the systemd of a Debian system, as process 1 of its own namespaces. Arguments: the system's root directory; and
# the name of a control group.
set -e
root=$1 group=$2
case $3 in
'')
	# Control groups of its own, too: systemd would put its own at the root of what it sees.
	mount -t cgroup2 none "$root/mnt"
	mkdir "$root/mnt/$group"
	echo $$ >"$root/mnt/$group/cgroup.procs"
	umount "$root/mnt"
	exec unshare --cgroup --pid --fork --kill-child --uts --ipc --net sh "$0" "$root" "$group" inside
	;;
esac

mount --rbind "$root" "$root" # systemd wants a mount point
mount -t proc none "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,ro,bind "$root/proc/sys"
mount -t sysfs -o ro none "$root/sys"
mount -t cgroup2 none "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
for dir in run tmp; do
	mount -t tmpfs none "$root/$dir"
done
mount --make-rshared "$root"
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" \
	/lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=no
