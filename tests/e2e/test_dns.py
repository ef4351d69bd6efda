"""Chapter "CoreDNS", the answers: right names, to pods of every worker, by every server and transport."""

from collections.abc import Callable

import pytest
from support_deadlines import whole
from support_dns import WAYS, Answer, Question, dig, in_services, reverse
from support_pod_manifests import HTTP, many_addresses
from support_pods import Pod, PodSet, insist

from lab.cluster import Cluster

pytestmark = pytest.mark.e2e
SELECTOR = "k8s-app=kube-dns"
SYSTEM = "/api/v1/namespaces/kube-system"
Answers = dict[tuple[str, str, str], list[Answer]]
Expect = Callable[[Cluster, PodSet], Question]


def servers_by_name(cluster: Cluster, pods: PodSet) -> frozenset[str]:
    """The names that a headless Service gives its pods."""
    dashed = (pod.address.replace(".", "-") for pod in pods.servers.values())
    return frozenset(f"{each}.{in_services(cluster, pods, 'direct')}." for each in dashed)


QUESTIONS: dict[str, Expect] = {
    "service": lambda c, p: Question(in_services(c, p, "web"), "A", frozenset({p.ip("web")})),
    "api": lambda c, p: Question(
        f"kubernetes.default.svc.{c.topology.networks.domain}",
        "A",
        frozenset({str(c.topology.networks.kubernetes_service)}),
    ),
    "srv": lambda c, p: Question(
        in_services(c, p, "_http._tcp.web"), "SRV", frozenset({f"80 {in_services(c, p, 'web')}."})
    ),
    "ptr": lambda c, p: Question(reverse(p.ip("web")), "PTR", frozenset({f"{in_services(c, p, 'web')}."})),
    "headless": lambda c, p: Question(
        in_services(c, p, "direct"), "A", frozenset(pod.address for pod in p.servers.values())
    ),
    "headless-srv": lambda c, p: Question(
        in_services(c, p, "_http._tcp.direct"),
        "SRV",
        frozenset(f"{HTTP} {name}" for name in servers_by_name(c, p)),
    ),
    "no-such-service": lambda c, p: Question(
        in_services(c, p, "nothing"), "A", status=frozenset({"NXDOMAIN"})
    ),
    "no-such-port": lambda c, p: Question(
        in_services(c, p, "_none._tcp.web"), "SRV", status=frozenset({"NXDOMAIN"})
    ),
    "no-such-address": lambda c, p: Question(
        reverse(str(c.topology.networks.services.broadcast_address)), "PTR", status=frozenset({"NXDOMAIN"})
    ),
    "no-ipv6": lambda c, p: Question(in_services(c, p, "web"), "AAAA"),
    # Refused or failed, but at once: a server that forwards to itself would not answer.
    "from-outside": lambda c, p: Question(
        "www.example.com", "A", status=frozenset({"SERVFAIL", "REFUSED", "NXDOMAIN"})
    ),
}


# -- answers ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def servers(lab_dns: Cluster) -> dict[str, str]:
    """The name servers by address: the Service, and every CoreDNS pod by itself."""
    found = lab_dns.api().items(f"{SYSTEM}/pods", labelSelector=SELECTOR)
    alone = {
        pod["status"]["podIP"]: f"{pod['metadata']['name']} on {pod['spec']['nodeName']}"
        for pod in found
        if "deletionTimestamp" not in pod["metadata"] and pod["status"].get("podIP")
    }
    return {str(lab_dns.topology.networks.dns): "the Service kube-dns", **alone}


@pytest.fixture(scope="module")
def answers(lab_dns: Cluster, pods: PodSet, servers: dict[str, str]) -> Answers:
    """Every answer to QUESTIONS, in their order, by the asking pod's worker, the server and the transport."""
    asked = [expect(lab_dns, pods) for expect in QUESTIONS.values()]

    def ask(pod: Pod) -> Answers:
        where = pod.machine.name
        return {(where, s, way): dig(pod, s, way, asked) for s in servers for way in WAYS}

    return {key: said for each in pods.from_clients(ask).values() for key, said in each.items()}


@pytest.mark.parametrize("kind", QUESTIONS)
def test_every_server_gives_pods_of_every_worker_the_right_answer(
    lab_dns: Cluster, pods: PodSet, servers: dict[str, str], answers: Answers, kind: str
) -> None:
    question = QUESTIONS[kind](lab_dns, pods)
    place = list(QUESTIONS).index(kind)
    insist(
        [
            f"a pod on {worker} asked {server} ({servers[server]}) by {way} for {question.name} "
            f"{question.type} and got: {wrong}"
            for (worker, server, way), said in answers.items()
            if (wrong := question.wrong(said[place]))
        ]
    )


def test_a_headless_pods_address_leads_back_to_its_name(lab_dns: Cluster, pods: PodSet) -> None:
    """Forward and back, for each server pod."""
    names = {pod.address: pod.address.replace(".", "-") for pod in pods.servers.values()}
    dns = str(lab_dns.topology.networks.dns)
    asked = [
        question
        for address, dashed in names.items()
        if (name := in_services(lab_dns, pods, f"{dashed}.direct"))
        for question in (
            Question(name, "A", frozenset({address})),
            Question(reverse(address), "PTR", frozenset({f"{name}."}), more_allowed=True),
        )
    ]
    heard = pods.from_clients(lambda pod: dig(pod, dns, "udp", asked))
    insist(
        [
            f"a pod on {worker} asked {dns} for {question.name} {question.type} and got: {wrong}"
            for worker, said in heard.items()
            for question, answer in zip(asked, said, strict=True)
            if (wrong := question.wrong(answer))
        ]
    )


# -- large answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "options", "cut"),
    [
        pytest.param("udp", ("+noedns", "+ignore"), True, id="udp-is-cut-and-says-so"),
        pytest.param("udp", ("+noedns",), False, id="udp-then-tcp"),
        pytest.param("udp", ("+bufsize=4096", "+ignore"), False, id="udp-in-fragments"),
        pytest.param("tcp", (), False, id="tcp"),
    ],
)
def test_an_answer_larger_than_a_packet_arrives(
    lab_dns: Cluster, pods: PodSet, servers: dict[str, str], way: str, options: tuple[str, ...], cut: bool
) -> None:
    question = Question(in_services(lab_dns, pods, "many"), "A", frozenset(many_addresses()))
    heard = pods.from_clients(lambda pod: {s: dig(pod, s, way, [question], *options)[0] for s in servers})
    wrong = [
        f"a pod on {worker} asked {server} ({servers[server]}) with {' '.join(options) or way} and got "
        f"{answer.status}, {len(answer.data)} of {len(question.data)} addresses, flags {sorted(answer.flags)}"
        for worker, said in heard.items()
        for server, answer in said.items()
        if cut != ("tc" in answer.flags) or (not cut and question.wrong(answer))
    ]
    insist(wrong, "`tcpdump -ni any port 53` on the worker of the server named")


# -- short names -----------------------------------------------------------------------------------


def test_every_pod_asks_the_planned_server_and_searches_its_namespace(lab_dns: Cluster, pods: PodSet) -> None:
    networks = lab_dns.topology.networks
    domain = networks.domain
    wanted = {
        f"nameserver {networks.dns}",
        f"search {pods.namespace}.svc.{domain} svc.{domain} {domain}",
        "options ndots:5",
    }
    heard = pods.from_clients(lambda pod: pod.inside("cat /etc/resolv.conf").stdout)
    insist(
        [
            f"{pods.clients[worker].name} on {worker}: /etc/resolv.conf is {said!r}, not {sorted(wanted)}"
            for worker, said in heard.items()
            if set(said.splitlines()) != wanted
        ],
        "clusterDNS and clusterDomain in the kubelet's configuration",
    )


def test_short_names_work_in_every_pod(lab_dns: Cluster, pods: PodSet) -> None:
    """`kubernetes.default` is the guide's own; the others are the ways people write a Service."""
    own, api = pods.ip("web"), str(lab_dns.topology.networks.kubernetes_service)
    short = {"web": own, f"web.{pods.namespace}": own, f"web.{pods.namespace}.svc": own}
    short |= {"kubernetes.default": api, "kubernetes.default.svc": api}
    script = "\n".join(
        f'echo "{name} $(dig +search +short +time={whole(2)} +tries=1 {name} A)"' for name in short
    )
    heard = pods.from_clients(
        lambda pod: dict(line.split(" ", 1) for line in pod.inside(script).stdout.splitlines() if " " in line)
    )
    insist(
        [
            f"a pod on {worker} looked up {name} and got {said.get(name)!r}, not {right}"
            for worker, said in heard.items()
            for name, right in short.items()
            if said.get(name) != right
        ]
    )


def test_programs_in_pods_reach_services_by_short_names(pods: PodSet) -> None:
    """By the C library, as most programs ask; the API's certificate must carry the short name as well."""
    limit = whole(5)
    script = f"""
    echo "web $(curl -sS -m {limit} --noproxy '*' http://web/hostname 2>&1)"
    echo "api $(curl -sS -m {limit} --noproxy '*' --http1.1 -o /dev/null -w '%{{http_code}}' \
        --cacert /var/run/secrets/kubernetes.io/serviceaccount/ca.crt https://kubernetes.default/api 2>&1)"
    """
    heard = pods.from_clients(
        lambda pod: dict(line.split(" ", 1) for line in pod.inside(script).stdout.splitlines() if " " in line)
    )
    names = {pod.name for pod in pods.servers.values()}
    wrong = [
        f"a pod on {worker}: http://web/hostname said {said.get('web')!r}, none of {sorted(names)}"
        for worker, said in heard.items()
        if said.get("web") not in names
    ]
    insist(
        wrong
        + [
            f"a pod on {worker}: https://kubernetes.default/api without a token said {said.get('api')!r}"
            for worker, said in heard.items()
            if said.get("api") not in ("401", "403")
        ]
    )
