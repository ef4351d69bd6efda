"""Machines of a plain box made machines of the lab: programs, packages, images, brought by one stage.

In the order they are read: `guest` (what a machine is and has, and why one cannot be used), `parcel` (what
is sent to it; pure but for reading files), `furnish` (does it), `furnish.sh` (what runs on the machine).
"""
