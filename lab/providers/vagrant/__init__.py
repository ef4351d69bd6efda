"""The provider `vagrant`: real virtual machines by VirtualBox or libvirt.

Reading order: `process` (a program with a deadline), `adapter` (Vagrant), `ssh` (commands and files),
`hypervisor` and its two forms (power, pauses, snapshots), `machine`; then what a provider is made of:
`programs`, `obstacles`, `needs`, `host`, `networks`, `inventory`, `removal`, `unmade`, `snapshots`;
`provider`.
"""

import logging

# python-vagrant warns on standard error when it is imported where there is no Vagrant; `preflight` says it.
logging.getLogger("vagrant").addHandler(logging.NullHandler())
