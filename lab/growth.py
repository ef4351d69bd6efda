"""Plans that only add to what runs: new machines, and new roles of old ones."""

from lab.topology import Facts, Role, changes, machine_names

JOINING = frozenset({Role.CONTROL_PLANE, Role.WORKER, Role.ADMIN})
WHY_NOT = {
    Role.ETCD: "a member is not added to an etcd cluster that runs",
    Role.LOAD_BALANCER: "those who joined know the API by another address",
}


def hindrances(before: Facts, after: Facts) -> list[str]:
    """What is more than growth in a plan that comes after another, a line each.  Pure."""
    old, new = machine_names(before), machine_names(after)
    added = {("machines",)} | {path for path in after if path[1:2] and path[1] in new - old}
    grown = {path for path in after if path[0] == "machines" and path[2:] == ("roles",)}
    kept = {path: value for path, value in before.items() if path not in added | grown}
    now = {path: value for path, value in after.items() if path not in added | grown}
    gone = [f"machines.{name}: is gone" for name in sorted(old - new)]
    roles = [line for name in sorted(new) for line in _roles(before, after, name)]
    return gone + _order(before, after, old & new) + roles + changes(kept, now)


def _order(before: Facts, after: Facts, both: set[str]) -> list[str]:
    """Members of etcd are numbered in the order of the plan."""
    first, second = (
        [name for name in told[("machines",)].split(", ") if name in both] for told in (before, after)
    )
    return [] if first == second else [f"machines: their order, {', '.join(first)}, is another"]


def _roles(before: Facts, after: Facts, name: str) -> list[str]:
    at = ("machines", name, "roles")
    had, has = _parsed(before.get(at, "")), _parsed(after[at])
    lost = [f"{'.'.join(at)}: {role} is gone" for role in Role if role in had - has]
    return lost + [f"{'.'.join(at)}: {role}: {WHY_NOT[role]}" for role in Role if role in has - had - JOINING]


def _parsed(roles: str) -> set[Role]:
    return {Role(role) for role in roles.split(", ") if role}
