"""Objects that live in the cluster: their manifests, and how one proves that they serve."""
