"""thwlab: highly available Kubernetes the hard way, built, verified, broken on purpose and measured.

Reading order, which is also the one direction of imports:
`errors`, `wait`, `strictyaml` -> `topology` -> `artifacts`, `pki`, `kubeconfig` -> `machine` ->
`providers` -> `components`, `addons`, `furnishing` -> `bringup` -> `cluster` -> `probes`, `faults` ->
`invariants`,
`linearizability` (these look at histories only) -> `jepsen`, `scenario` -> `report` -> `failover` ->
`plugin`, `cli`.
"""

__version__ = "0.1.0"
