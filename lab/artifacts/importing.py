"""A containerd that runs only to fill its own folder with images, on this host for a box or on a machine."""

NAMESPACE = "k8s.io"  # the kubelet's
ADDRESS = "CONTAINERD_ADDRESS"  # the variable by which ctr finds a socket


def importer(root: str, folder: str) -> str:
    """Its configuration: images go to ``root``; socket and state lie in ``folder``.  Pure.

    Nothing of it needs a network, a CNI plugin or a kubelet.
    """
    return (
        f'version = 3\nroot = "{root}/var/lib/containerd"\nstate = "{folder}/state"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", '
        f'"io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri"]\n[grpc]\naddress = "{folder}/s"\n'
    )


def import_argv(ctr: str, *images: str) -> list[str]:
    """The command that lets the containerd at `ADDRESS` take these files; without any, how it begins."""
    return [ctr, "-n", NAMESPACE, "images", "import", *images]
