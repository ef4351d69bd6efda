"""The provider `incus`, over the API that Incus and LXD have in common."""

from lab.providers.incus.provider import IncusProvider
from lab.providers.incus.vmprovider import IncusVmProvider

__all__ = ["IncusProvider", "IncusVmProvider"]
