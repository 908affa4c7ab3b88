"""Every setting, with what it is for in docs/host-setup.md."""

MULTIPATH_CONF = """\
# Of pg-host-setup (docs/host-setup.md): each line is worth seconds of pause.
defaults {
  polling_interval 1
  max_polling_interval 2
}
devices {
  device {
    vendor "HOLDFAST"
    product ".*"
    path_grouping_policy failover
    prio alua
    detect_prio yes
    path_checker tur
    failback immediate
    no_path_retry queue
    fast_io_fail_tmo off
    user_friendly_names no
  }
}
"""
NEEDRESTART_CONF = """\
# Of pg-host-setup: the way to the database's disk is not restarted unattended.
$nrconf{override_rc}{qr(^(iscsid|open-iscsi|multipathd)\\.service$)} = 0;
1;
"""
UPGRADES_CONF = """\
// Of pg-host-setup: upgrades of the way to the database's disk are made by somebody who watches.
Unattended-Upgrade::Package-Blacklist { "^open-iscsi$"; "^multipath-tools$"; "^kpartx$"; "^libopeniscsiusr$"; };
"""
HOST_FILES = {
    "/etc/multipath/conf.d/holdfast.conf": MULTIPATH_CONF,
    "/etc/needrestart/conf.d/holdfast.conf": NEEDRESTART_CONF,
    "/etc/apt/apt.conf.d/52holdfast": UPGRADES_CONF,
}
# In the volume's own records and not in iscsid.conf: without multipath above it, another target would get I/O errors from them.
RECORD_SETTINGS = {
    "node.startup": "automatic",
    "node.session.timeo.replacement_timeout": "0",
    "node.conn[0].timeo.noop_out_interval": "1",
    "node.conn[0].timeo.noop_out_timeout": "1",
    "node.conn[0].timeo.login_timeout": "2",
    "node.session.iscsi.DefaultTime2Wait": "0",
}
UNITS = ["iscsid.socket", "open-iscsi.service", "multipathd.service"]
MOUNT_OPTIONS = "_netdev,noatime,x-systemd.after=open-iscsi.service,x-systemd.after=multipathd.service"
