"""The provider `incus`, over the API that Incus and LXD have in common."""

from lab.providers.incus.provider import IncusProvider

__all__ = ["IncusProvider"]
