"""Pure judgements over the history of a run: held, broken or unknown, with the number they rest on.

Reading order: `finding` (what a judgement says), `terms` (what the words of a limit are), `base` (what every
invariant is), `paths` (which questions are looked at), then one file for each family: `answers` and `kinds`
(what a user felt), `consensus` and `writes` (what etcd promised), `leaders` (controller-manager, scheduler),
`workload` (nodes and pods), `streams` (watches and idle connections).  `catalogue` has every word,
`validity` says when a run proves nothing, `resample` asks less often than the run did, `expectation` weighs
what was expected to break.
"""
