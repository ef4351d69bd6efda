"""libvirt of a lab's own: a daemon that lives and dies with the lab, and VMs that work without KVM.

Reading order: `kvm` (does it work here?), `settings` (what the daemon reads), `daemon` (in namespaces of
its own), `private` (its VMs).  `private.rb` is what the Vagrantfile lacks for them.
"""
