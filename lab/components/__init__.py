"""The programs of the cluster, each as its files on a node, its unit, and how it proves that it serves."""
