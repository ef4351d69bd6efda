"""Shell scripts for a program that systemd runs; `$unit` is its name, set by what stands before them."""

from collections.abc import Mapping

from lab.faults.shell import RUN

BALANCER = "load-balancer"


def head(unit: str) -> str:
    """Sets `$unit`: the unit's name, or the balancer's that this machine has."""
    named = _BALANCER if unit == BALANCER else f"unit={unit}\n"
    return f"mkdir -p -m 0700 {RUN}\n{named}{_SHOW}"


_BALANCER = """\
unit=nginx
systemctl is-enabled --quiet haproxy.service 2>/dev/null && unit=haproxy
"""
_SHOW = f"""\
show() {{ systemctl show --property="$1" --value "$unit.service"; }}
mark={RUN}/main-$unit
dropins=/run/systemd/system/$unit.service.d
pids() {{
  group=$(show ControlGroup)
  for where in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
    test -n "$group" && test -f "$where$group/cgroup.procs" || continue
    cat "$where$group/cgroup.procs"
    break
  done
}}
"""
IS_THERE = "systemctl cat $unit.service >/dev/null 2>&1"
CAN_RELOAD = 'test "$(show CanReload)" = yes'
# systemd before 252 knows no `--kill-whom`, and later ones take this for it.
# What the main process was before, for the proof that it is not any more.
_MARK = 'show MainPID >"$mark"\n'
# Forbidden first, else systemd starts it again between the two.  A runtime mask would not do: it gives way to
# a unit below /etc, where the guide has them.  A condition that fails leaves the unit inactive, not failed.
_HOLD = """\
mkdir -p $dropins
printf '[Unit]\\nConditionPathExists=/thwlab-holds-it-down\\n' >$dropins/thwlab-hold.conf
systemctl daemon-reload
"""
# Where a unit's children are to outlive it, as containerd's shims and so the pods, they do.
_KILL_ALL = """\
who=all
test "$(show KillMode)" != process || who=main
systemctl kill --kill-who=$who --signal=KILL $unit 2>/dev/null
systemctl stop --no-block $unit
"""
# A reload keeps the main process; what it replaces are the others.
_RELOAD = """\
workers() { main=$(show MainPID); pids | grep -vx "$main" | sort | tr '\\n' ' '; }
echo "$(show MainPID):$(workers)" >"$mark"
for turn in $(seq "$1"); do
  before=$(workers)
  systemctl reload $unit || exit
  for wait in $(seq 50); do
    test "$(workers)" = "$before" || break
    sleep 0.1
  done
done
"""
SCRIPTS: Mapping[str, str] = {
    "kill": _MARK + "systemctl kill --kill-who=main --signal=KILL $unit",
    "restart": _MARK + "systemctl restart --no-block $unit",
    "reload": _RELOAD,
    "kill-and-hold": _HOLD + _KILL_ALL,
    "terminate": _HOLD + "systemctl stop --no-block $unit",
    "stop": "systemctl kill --kill-who=all --signal=STOP $unit",
}
UNDO = """\
systemctl kill --kill-who=all --signal=CONT $unit 2>/dev/null
if test -e $dropins/thwlab-hold.conf; then
  rm -f $dropins/thwlab-hold.conf
  rmdir --ignore-fail-on-non-empty $dropins
  systemctl daemon-reload
fi
systemctl reset-failed $unit 2>/dev/null
rm -f "$mark"
systemctl start --no-block $unit
"""
# Held, state, main process, how many processes run, how many are stopped, main process of before.
SEE = r"""
run=0; stop=0
for pid in $(pids); do
  case "$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null)" in
    T*) stop=$((stop + 1));; Z*|'') ;; *) run=$((run + 1));;
  esac
done
held=0; test -e "$dropins/thwlab-hold.conf" && held=1
before=$(cat "$mark" 2>/dev/null | tr ' ' ,)
echo $held "$(show ActiveState)" "$(show MainPID)" $run $stop "${before:-0}"
"""
# The main process and the others, as `_RELOAD` noted them.
SEE_WORKERS = """\
main=$(show MainPID)
echo "$main:$(pids | grep -vx "$main" | sort | tr '\\n' ' ')"
cat "$mark" 2>/dev/null; true
"""
