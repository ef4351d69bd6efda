"""What is done to a cluster, when, and by which numbers it is judged: from a YAML file to a history.

Reading order: `forms` (how a value is written), `known` (which words there are in this plan), `words` (the
fields of a fault or an invariant, from its dataclass), `file` (what may stand in a scenario file), `rules`
and `timing` (what makes it one that can be run and judged), `loading` (a file, or all of a folder), `schema`
(for editors); `course` (what a run does and when), `plan` (all choices made, from one seed), `telling` (a
plan in words), `composing` (a course at random), `shrinking` (the smallest one that still breaks); then what
needs a cluster: `steadiness`, `breaking`, `ledger`, `running`.
"""
