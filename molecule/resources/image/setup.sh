#!/bin/sh
# Runs inside the new root, after the packages: what a test host must not do by itself.
set -eu
# A test that wants SSH starts it; the timers would hold apt's lock while a role installs.
systemctl disable ssh.service apt-daily.timer apt-daily-upgrade.timer
# Every container makes its own.
: >/etc/machine-id
rm -f /etc/hostname /etc/resolv.conf /var/lib/dbus/machine-id
