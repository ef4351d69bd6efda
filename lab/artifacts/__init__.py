"""Programs and images a cluster needs, pinned, verified and kept in a cache.

Reading order: `catalogue` (what there is), `cache` (where it is kept), `source` (what a source promises),
`network` (is a host within reach), `release` and `gomodules` (the two sources), `fetch` (all of it together),
`elf` (what a dynamic program needs), `images` (container images around programs).
"""
