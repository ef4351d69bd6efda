#!/bin/bash
# The yardstick of bring-up: from nothing to a DNS answer of the cluster, in a straight line, without checks.
# usage: straight_line.sh METADATA ROOTFS    (root; bringup.py makes both and calls this)
# Prints seconds and step; the line "up" is the answer. Everything it starts ends with it, also on Ctrl-C.
set -eu
: "${T0:=$EPOCHREALTIME}" "${COREDNS:=1.14.7}" "${PAUSE:=3.10.2}" "${KEEP_UP:=0}"
t(){ local us=$(( ${EPOCHREALTIME/./} - ${T0/./} )); printf '%d.%02d %s\n' $((us / 1000000)) $((us / 10000 % 100)) "$*"; }
groups(){ awk '$3 ~ /^cgroup2?$/ {print $2}' /proc/mounts; }

# ---- outside: a network namespace, a cgroup, and one process in a PID namespace, whose end ends all ----
if [ -z "${LAB-}" ]; then
    export T0 LAB=thwbench-$$ W; W=$(mktemp -d /var/lib/thwbench-XXXXXX); chmod 711 "$W"; enclosed=
    gone(){
        trap '' INT TERM HUP
        [ -z "$enclosed" ] || { kill -KILL "$enclosed" 2>/dev/null || :; wait "$enclosed" 2>/dev/null || :; }
        for try in {1..100}; do
            for g in $(groups); do [ ! -d "$g/$LAB" ] || find "$g/$LAB" -depth -type d -exec rmdir {} + 2>/dev/null || :; done
            ip netns del "$LAB" 2>/dev/null || :
            rm -rf "$W" 2>/dev/null && ! ls -d $(groups | sed "s#\$#/$LAB#") >/dev/null 2>&1 && return
            sleep 0.1
        done
        echo "left behind: $LAB, $W" >&2
    }
    trap gone EXIT; trap 'exit 130' INT TERM HUP
    ip netns add "$LAB"; ip -n "$LAB" link set lo up
    (
        for g in $(groups); do
            mkdir "$g/$LAB"
            for f in cpus mems; do [ ! -e "$g/cpuset.$f" ] || cat "$g/cpuset.$f" >"$g/$LAB/cpuset.$f"; done
            echo $BASHPID >"$g/$LAB/cgroup.procs"
        done
        exec setsid nsenter --net="/run/netns/$LAB" unshare -m -p -C --fork --kill-child --mount-proc "$0" "$@"
    ) & enclosed=$!
    wait "$enclosed"; exit
fi

# ---- inside ----
cgroups=$(awk '$3 ~ /^cgroup2?$/ {print $2, $3, $4}' /proc/mounts)
mount --make-rprivate /; mount -t sysfs sysfs /sys
grep -q '^/sys/fs/cgroup cgroup2' <<<"$cgroups" && v2=1 || { v2=; mount -t tmpfs tmpfs /sys/fs/cgroup; }
while read -r point kind options; do
    mkdir -p "$point"; mount -t "$kind" -o "${options/name=/none,name=}" cgroup "$point"
    [ "$kind" = cgroup ] || { mkdir -p "$point/daemon"; echo 1 >"$point/daemon/cgroup.procs"; }
done <<<"$cgroups"
cd "$W"; export LXD_DIR=$W/lxd; mkdir lxd pki m pid; umask 022
env -u http_proxy -u https_proxy -u HTTP_PROXY -u HTTPS_PROXY lxd --group root --logfile lxd.log >lxd.out 2>&1 &
declare -A A=([k8s-master1]=11 [k8s-master2]=12 [k8s-worker1]=21 [k8s-worker2]=22 [k8s-lb]=100)
N=192.168.100 MASTERS="k8s-master1 k8s-master2" WORKERS="k8s-worker1 k8s-worker2" ETCD="k8s-master1 k8s-master2 k8s-lb"
API=https://$N.100:6443 K=/opt/kubernetes S=/opt/kubernetes/ssl C=/opt/kubernetes/cfg E=/opt/etcd/ssl
s(){ local p; read -r p <"pid/$1"; shift; nsenter -t "$p" -a -- env -i PATH=$K/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"; }
api(){ curl -s --noproxy '*' -m 3 --cacert pki/ca.pem --cert pki/admin.pem --key pki/admin-key.pem "$API$1"; }

# ---- PKI ----
pki()(
    cd pki; printf '[req]\ndistinguished_name=d\n[d]\n' >conf
    local new="openssl req -config conf -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    ca(){ $new -days 3650 -subj "/CN=$2" -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign -keyout $1-key.pem -out $1.pem; }
    crt(){ $new -days 365 -CA $2.pem -CAkey $2-key.pem -subj "$3" -addext keyUsage=critical,digitalSignature -addext extendedKeyUsage=serverAuth,clientAuth ${4:+-addext "subjectAltName=$4"} -keyout $1-key.pem -out $1.pem; }
    ca etcd-ca etcd-ca; ca ca kubernetes-ca; ca front-ca front-proxy-ca
    local lo=IP:127.0.0.1,DNS:localhost
    crt server etcd-ca /CN=etcd IP:$N.11,IP:$N.12,IP:$N.100,$lo
    crt etcd-client etcd-ca /CN=kube-apiserver-etcd-client
    crt kubernetes ca /CN=kube-apiserver IP:10.0.0.1,IP:$N.11,IP:$N.12,IP:$N.100,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,$lo
    crt kubelet-client ca /CN=kube-apiserver-kubelet-client
    crt kube-controller-manager ca /CN=system:kube-controller-manager $lo
    crt kube-scheduler ca /CN=system:kube-scheduler $lo
    crt kube-proxy ca /O=system:node-proxier/CN=system:kube-proxy
    crt admin ca /O=system:masters/CN=k8s-admin
    crt front front-ca /CN=front-proxy
    openssl ecparam -name prime256v1 -genkey -noout -out sa.key; openssl ec -in sa.key -pubout -out sa.pub
)

# ---- every machine's files, below m/NAME ----
f(){ mkdir -p "m/$1${2%/*}"; cat >"m/$1$2"; }
y(){ { echo ---; cat; } | f "$@"; } # Kubernetes takes what starts with a brace for JSON
keys(){ local m=$1 d=$2; shift 2; mkdir -p "m/$m$d"; (cd pki; cp "$@" "../m/$m$d"); }
unit(){ # machine, name, type, command, further lines
    local w=etc/systemd/system; mkdir -p "m/$1/$w/multi-user.target.wants"; ln -sf "/$w/$2.service" "m/$1/$w/multi-user.target.wants/"
    printf '%b' "[Unit]\nStartLimitIntervalSec=0\nAfter=network.target ${6-}\n[Service]\nType=$3\nExecStart=$4\nRestart=always\nRestartSec=0.5\nLimitNOFILE=65536\nTimeoutStartSec=infinity\n${5-}\n[Install]\nWantedBy=multi-user.target\n" >"m/$1/$w/$2.service"
}
kubeconfig(){ # machine, path, server, user's proof
    y "$1" "$2" <<Y
{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}],
clusters: [{name: k, cluster: {server: "$3", certificate-authority: $S/ca.pem}}], users: [{name: u, user: {$4}}]}
Y
}
pair(){ echo "client-certificate: $S/$1.pem, client-key: $S/$1-key.pem"; }
files(){
    local m n i=0 members=etcd-1=https://$N.11:2380,etcd-2=https://$N.12:2380,etcd-3=https://$N.100:2380
    for m in "${!A[@]}"; do
        { echo 127.0.0.1 localhost; for n in "${!A[@]}"; do echo "$N.${A[$n]} $n"; done; } | f $m /etc/hosts
        printf '[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n' | f $m /etc/systemd/networkd.conf.d/90-lab.conf
    done
    for m in $ETCD; do
        i=$((i + 1)); local own=https://$N.${A[$m]}
        keys $m $E etcd-ca.pem server.pem server-key.pem
        unit $m etcd notify "/opt/etcd/bin/etcd --name=etcd-$i --data-dir=/var/lib/etcd/default.etcd --listen-peer-urls=$own:2380 --listen-client-urls=$own:2379,https://127.0.0.1:2379 --initial-advertise-peer-urls=$own:2380 --advertise-client-urls=$own:2379 --initial-cluster=$members --initial-cluster-state=new --cert-file=$E/server.pem --key-file=$E/server-key.pem --peer-cert-file=$E/server.pem --peer-key-file=$E/server-key.pem --trusted-ca-file=$E/etcd-ca.pem --peer-trusted-ca-file=$E/etcd-ca.pem --client-cert-auth --peer-client-cert-auth --logger=zap"
    done
    f k8s-lb /etc/nginx/nginx.conf <<Y
user www-data; worker_processes auto; pid /run/nginx.pid; error_log stderr warn;
include /etc/nginx/modules-enabled/*.conf;
events { worker_connections 1024; }
stream {
  upstream k { zone k 64k; server $N.11:6443 max_fails=1 fail_timeout=2s; server $N.12:6443 max_fails=1 fail_timeout=2s; }
  server { listen 6443 so_keepalive=on; proxy_connect_timeout 1s; proxy_timeout 24h; proxy_socket_keepalive on; proxy_pass k; }
}
Y
    unit k8s-lb nginx exec "/usr/sbin/nginx -g 'daemon off;'"
    keys k8s-lb $S ca.pem admin.pem admin-key.pem; kubeconfig k8s-lb /root/.kube/config $API "$(pair admin)"
    local etcds=https://$N.11:2379,https://$N.12:2379,https://$N.100:2379 secretbox; secretbox=$(openssl rand -base64 32)
    for m in $MASTERS; do
        local ip=$N.${A[$m]} c
        keys $m $S {ca,kubernetes,kubelet-client,kube-controller-manager,kube-scheduler,etcd-client,front}{,-key}.pem front-ca.pem etcd-ca.pem sa.key sa.pub
        y $m $C/authentication.yml <<<'{apiVersion: apiserver.config.k8s.io/v1, kind: AuthenticationConfiguration, anonymous: {enabled: true, conditions: [{path: /livez}, {path: /readyz}, {path: /healthz}]}}'
        y $m $C/encryption.yml <<<"{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: [{resources: [secrets], providers: [{secretbox: {keys: [{name: key1, secret: $secretbox}]}}, {identity: {}}]}]}"
        y $m $C/audit.yml <<<'{apiVersion: audit.k8s.io/v1, kind: Policy, omitStages: [RequestReceived], rules: [{level: None, nonResourceURLs: ["/healthz*", "/livez*", "/readyz*"]}, {level: None, verbs: [get, update, patch], resources: [{group: coordination.k8s.io, resources: [leases]}]}, {level: Metadata}]}'
        unit $m kube-apiserver notify "$K/bin/kube-apiserver --v=2 --etcd-servers=$etcds --bind-address=0.0.0.0 --secure-port=6443 --advertise-address=$ip --service-cluster-ip-range=10.0.0.0/24 --service-node-port-range=30000-32767 --kubelet-preferred-address-types=InternalIP --allow-privileged=true --enable-bootstrap-token-auth=true --enable-aggregator-routing=true --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --authentication-config=$C/authentication.yml --encryption-provider-config=$C/encryption.yml --audit-policy-file=$C/audit.yml --audit-log-path=$K/logs/k8s-audit.log --audit-log-maxage=30 --audit-log-maxbackup=3 --audit-log-maxsize=100 --profiling=false --tls-cert-file=$S/kubernetes.pem --tls-private-key-file=$S/kubernetes-key.pem --client-ca-file=$S/ca.pem --kubelet-certificate-authority=$S/ca.pem --kubelet-client-certificate=$S/kubelet-client.pem --kubelet-client-key=$S/kubelet-client-key.pem --etcd-cafile=$S/etcd-ca.pem --etcd-certfile=$S/etcd-client.pem --etcd-keyfile=$S/etcd-client-key.pem --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-account-key-file=$S/sa.pub --service-account-signing-key-file=$S/sa.key --requestheader-client-ca-file=$S/front-ca.pem --requestheader-allowed-names=front-proxy --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group --requestheader-username-headers=X-Remote-User --proxy-client-cert-file=$S/front.pem --proxy-client-key-file=$S/front-key.pem" "ExecStartPre=/usr/bin/install -d -m 0700 $K/logs"
        for c in kube-controller-manager kube-scheduler; do
            kubeconfig $m $C/$c.kubeconfig https://$ip:6443 "$(pair $c)"
            local more=; [ $c = kube-scheduler ] || more="--allocate-node-cidrs=true --cluster-cidr=10.10.0.0/16 --service-cluster-ip-range=10.0.0.0/24 --cluster-signing-cert-file=$S/ca.pem --cluster-signing-key-file=$S/ca-key.pem --cluster-signing-duration=8760h --root-ca-file=$S/ca.pem --service-account-private-key-file=$S/sa.key --use-service-account-credentials=true --controllers=*,bootstrapsigner,tokencleaner"
            unit $m $c exec "$K/bin/$c --v=2 --leader-elect=true --kubeconfig=$C/$c.kubeconfig --authentication-kubeconfig=$C/$c.kubeconfig --authorization-kubeconfig=$C/$c.kubeconfig --bind-address=127.0.0.1 --profiling=false --tls-cert-file=$S/$c.pem --tls-private-key-file=$S/$c-key.pem $more" "" kube-apiserver.service
        done
    done
    for m in $WORKERS; do
        f $m /usr/local/lib/prepare <<Y
#!/bin/sh
[ "$v2" ] || { mount -o remount,rw /sys/fs/cgroup; for c in cpu cpuacct; do p=/sys/fs/cgroup/\$c; [ ! -L \$p ] || rm \$p; mkdir -p \$p; mountpoint -q \$p || mount -t cgroup -o \$c cgroup \$p; done; }
sysctl -qw net.ipv4.ip_forward=1
Y
        chmod 755 m/$m/usr/local/lib/prepare
        f $m /etc/containerd/config.toml <<Y
version = 3
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = 'registry.k8s.io/pause:$PAUSE'
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['/opt/cni/bin']
  conf_dir = '/etc/cni/net.d'
${v2:+[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = true}
Y
        unit $m containerd notify /usr/local/bin/containerd 'ExecStartPre=/usr/local/lib/prepare\nKillMode=process\nDelegate=yes\nTasksMax=infinity'
        keys $m $S ca.pem kube-proxy.pem kube-proxy-key.pem
        kubeconfig $m $C/bootstrap.kubeconfig $API "token: $TOKEN"
        kubeconfig $m $C/kube-proxy.kubeconfig $API "$(pair kube-proxy)"
        echo 'options timeout:1 attempts:1' | f $m $C/resolv.conf
        y $m $C/kubelet.yml <<Y
{kind: KubeletConfiguration, apiVersion: kubelet.config.k8s.io/v1beta1, address: 0.0.0.0, port: 10250, readOnlyPort: 0,
containerRuntimeEndpoint: "unix:///run/containerd/containerd.sock", cgroupDriver: ${v2:+systemd}${v2:-cgroupfs}, failCgroupV1: false, oomScoreAdj: 0,
localStorageCapacityIsolation: false, clusterDNS: [10.0.0.2], clusterDomain: cluster.local, resolvConf: $C/resolv.conf, failSwapOn: false,
rotateCertificates: true, serverTLSBootstrap: true, enableProfilingHandler: false,
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $S/ca.pem}}, authorization: {mode: Webhook},
imageGCHighThresholdPercent: 100, evictionHard: {memory.available: 50Mi, imagefs.available: 0%, nodefs.available: 0%, nodefs.inodesFree: 0%}, maxOpenFiles: 1000000}
Y
        y $m $C/kube-proxy.yml <<Y
{kind: KubeProxyConfiguration, apiVersion: kubeproxy.config.k8s.io/v1alpha1, bindAddress: 0.0.0.0, clientConnection: {kubeconfig: $C/kube-proxy.kubeconfig},
healthzBindAddress: "127.0.0.1:10256", metricsBindAddress: "127.0.0.1:10249", hostnameOverride: $m, clusterCIDR: 10.10.0.0/16, mode: iptables, oomScoreAdj: 0,
conntrack: {maxPerCore: 0, min: 0, tcpCloseWaitTimeout: 0s, tcpEstablishedTimeout: 0s}}
Y
        unit $m kubelet exec "$K/bin/kubelet --v=2 --hostname-override=$m --node-ip=$N.${A[$m]} --kubeconfig=$C/kubelet.kubeconfig --bootstrap-kubeconfig=$C/bootstrap.kubeconfig --config=$C/kubelet.yml --cert-dir=$S" "" containerd.service
        unit $m kube-proxy exec "$K/bin/kube-proxy --v=2 --config=$C/kube-proxy.yml" "" containerd.service
    done
}

# ---- what goes into the cluster ----
binding(){ echo "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: '$1'}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: '$2'}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: $3, name: '$4'}]}"; echo ---; }
objects(){
    local g=system:bootstrappers:lab c=system:certificates.k8s.io:certificatesigningrequests
    cat <<Y
---
{apiVersion: v1, kind: Secret, metadata: {name: bootstrap-token-${TOKEN%.*}, namespace: kube-system}, type: bootstrap.kubernetes.io/token,
stringData: {token-id: "${TOKEN%.*}", token-secret: "${TOKEN#*.}", expiration: "$(date -u -d +1hour +%FT%TZ)", usage-bootstrap-authentication: "true", auth-extra-groups: "$g"}}
---
Y
    binding lab:bootstrap system:node-bootstrapper Group $g
    binding lab:approve-first $c:nodeclient Group $g
    binding lab:approve-renewal $c:selfnodeclient Group system:nodes
    binding system:kube-apiserver system:kubelet-api-admin User kube-apiserver-kubelet-client
    cat <<Y
{apiVersion: v1, kind: ServiceAccount, metadata: {name: coredns, namespace: kube-system}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: "system:coredns"}, rules: [{apiGroups: [""], resources: [endpoints, services, pods, namespaces], verbs: [list, watch]}, {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: "system:coredns"}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:coredns"}, subjects: [{kind: ServiceAccount, name: coredns, namespace: kube-system}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: coredns, namespace: kube-system}
data:
  Corefile: |
    .:53 {
        errors
        health {
            lameduck 5s
        }
        ready
        kubernetes cluster.local in-addr.arpa ip6.arpa
        prometheus :9153
        cache 30
        loadbalance
    }
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: coredns, namespace: kube-system, labels: {k8s-app: kube-dns}}
spec:
  replicas: 2
  selector: {matchLabels: {k8s-app: kube-dns}}
  template:
    metadata: {labels: {k8s-app: kube-dns}}
    spec:
      serviceAccountName: coredns
      priorityClassName: system-cluster-critical
      dnsPolicy: Default
      affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {k8s-app: kube-dns}}}]}}
      containers:
        - name: coredns
          image: registry.k8s.io/coredns/coredns:v$COREDNS
          args: ["-conf", "/etc/coredns/Corefile"]
          resources: {requests: {cpu: 100m, memory: 70Mi}}
          readinessProbe: {httpGet: {path: /ready, port: 8181}, periodSeconds: 1}
          livenessProbe: {httpGet: {path: /health, port: 8080}, initialDelaySeconds: 60}
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {add: [NET_BIND_SERVICE], drop: [ALL]}}
          volumeMounts: [{name: config, mountPath: /etc/coredns, readOnly: true}]
      volumes: [{name: config, configMap: {name: coredns}}]
---
{apiVersion: v1, kind: Service, metadata: {name: kube-dns, namespace: kube-system, labels: {k8s-app: kube-dns}}, spec: {clusterIP: 10.0.0.2, selector: {k8s-app: kube-dns}, ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}, {name: metrics, port: 9153, protocol: TCP}]}}
Y
}

# ---- the line ----
TOKEN=$(openssl rand -hex 3).$(openssl rand -hex 8)
(pki 2>/dev/null; files; t pki and files) & making=$!
until lxc query /1.0 >/dev/null 2>&1; do sleep 0.05; done
t daemon
(lxc image import "$1" "$2" --alias lab >/dev/null; t image) & importing=$!
lxd init --preseed <<Y
storage_pools: [{name: lab, driver: btrfs, config: {size: 40GiB}}]
networks: [{name: thwbr0, type: bridge, config: {ipv4.address: $N.1/24, ipv4.nat: "false", ipv4.dhcp: "false", ipv6.address: none, dns.mode: none}}]
profiles:
- name: default
  config:
    security.privileged: "true"
    security.nesting: "true"
    raw.lxc: "lxc.cap.drop=\nlxc.mount.auto=proc:rw sys:rw cgroup:rw\nlxc.cgroup${v2:+2}.devices.allow=a"
  devices:
    root: {type: disk, path: /, pool: lab}
    eth0: {type: nic, nictype: bridged, parent: thwbr0, name: eth0}
    kmsg: {type: unix-char, path: /dev/kmsg, source: /dev/kmsg}
Y
t pool and network
wait $making $importing
machine(){ # boot one, fill it, start what may start by itself; returns once that has said that it is ready
    lxc launch lab "$1" -q -c user.thwlab.network="$(printf '[Match]\nName=eth0\n[Network]\nAddress=%s/24\nGateway=%s\nLinkLocalAddressing=no\nIPv6AcceptRA=no' $N.${A[$1]} $N.1)"
    curl -s --unix-socket lxd/unix.socket "lxd/1.0/instances/$1/state" | grep -o '"pid":[0-9]*' | cut -d: -f2 >"pid/$1"
    cp -r --remove-destination "m/$1/." "/proc/$(cat "pid/$1")/root/"
    until s "$1" sh -c 'systemctl daemon-reload && ip -4 -o addr show eth0 | grep -q .' >/dev/null 2>&1; do sleep 0.05; done
    s "$1" systemctl start $2 || :
}
control="etcd kube-apiserver kube-controller-manager kube-scheduler" starting=()
start(){ machine "$@" & starting+=($!); }
start k8s-master1 "$control"; start k8s-master2 "$control"; start k8s-lb "etcd nginx"; start k8s-worker1 containerd; start k8s-worker2 containerd
wait "${starting[@]}"
until [ "$(api /readyz)" = ok ]; do sleep 0.1; done
t API
objects | s k8s-lb kubectl create --validate=false -f - >/dev/null
t objects
for m in $WORKERS; do s $m systemctl start --no-block kubelet kube-proxy & done
until set -- $(api /api/v1/nodes | grep -oE '"(name|podCIDR)": "(k8s-|10\.)[^"]*' | cut -d'"' -f4) && [ $# = 4 ]; do sleep 0.1; done
declare -A R=([$1]=$2 [$3]=$4)
t nodes
for n in $WORKERS; do
    f $n /conflist <<<"{\"cniVersion\": \"1.0.0\", \"name\": \"lab\", \"plugins\": [{\"type\": \"ptp\", \"ipMasq\": false, \"ipam\": {\"type\": \"host-local\", \"dataDir\": \"/run/cni-ipam-state\", \"ranges\": [[{\"subnet\": \"${R[$n]}\"}]], \"routes\": [{\"dst\": \"0.0.0.0/0\"}]}}, {\"type\": \"portmap\", \"capabilities\": {\"portMappings\": true}}]}"
    s $n sh -c 'mkdir -p /etc/cni/net.d; cat >/etc/cni/net.d/10-lab.conflist' <m/$n/conflist
    for m in "${!A[@]}"; do [ $n = $m ] || s $m ip route replace ${R[$n]} via $N.${A[$n]}; done
done
(
    until csrs=$(api '/apis/certificates.k8s.io/v1/certificatesigningrequests?fieldSelector=spec.signerName=kubernetes.io/kubelet-serving' | grep -o '"name": "csr-[a-z0-9]*"' | cut -d'"' -f4) && [ "$(wc -w <<<"$csrs")" -ge 2 ]; do sleep 0.2; done
    s k8s-lb kubectl certificate approve $csrs >/dev/null; t serving certificates
) & approving=$!
until api /apis/apps/v1/namespaces/kube-system/deployments/coredns | grep -q '"availableReplicas": 2'; do sleep 0.1; done
t CoreDNS
for m in $WORKERS; do
    until [ "$(s $m dig +short +time=1 +tries=1 @10.0.0.2 kubernetes.default.svc.cluster.local)" = 10.0.0.1 ]; do sleep 0.05; done
done
t DNS
wait $approving
t up
[ "$KEEP_UP" = 0 ] || read -r _
