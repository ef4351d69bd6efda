"""What every command on a machine finds in its environment, whoever carries it there."""

ENVIRONMENT = {
    "PATH": "/opt/kubernetes/bin:/opt/etcd/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "SYSTEMD_PAGER": "",
    "SYSTEMD_COLORS": "0",
}
MARK = "THWLAB_COMMAND"  # in the environment of all that a command starts, so that none of it is lost
