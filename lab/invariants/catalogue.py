"""Every invariant there is, by the word that a scenario file uses for it."""

from collections.abc import Mapping

from lab.invariants import (
    answers,
    consensus,
    heartbeats,
    kinds,
    kubelets,
    leaders,
    moving,
    resample,
    since,
    streams,
    workload,
    writes,
)
from lab.invariants.base import Invariant

INVARIANTS: Mapping[str, type[Invariant]] = {
    each.word: each
    for each in (
        answers.Availability,
        answers.Away,
        answers.LongestOutage,
        answers.LongestBlock,
        answers.Scattered,
        answers.Latency,
        since.FirstFailure,
        since.Recovery,
        kinds.ResetsOnly,
        kinds.TimeoutsOnly,
        kinds.RefusedWithin,
        kinds.ResetWithin,
        resample.Resample,
        consensus.ReElection,
        consensus.LeaderChanges,
        consensus.TermChanges,
        consensus.SplitVotes,
        consensus.MinorityAcks,
        writes.WriteGap,
        writes.InFlight,
        writes.LostWrites,
        writes.Linearizable,
        writes.HashKv,
        writes.BrokenPromises,
        leaders.LeaseTakeover,
        leaders.OverlappingHolders,
        leaders.ExitOfOldHolder,
        workload.NodeNotReady,
        workload.NodesReady,
        workload.NodeFlaps,
        workload.Evictions,
        workload.EndpointDropped,
        workload.EndpointFlaps,
        kubelets.LockedOut,
        heartbeats.LateHeartbeats,
        workload.NewPod,
        moving.Rescheduled,
        moving.TwiceRunning,
        streams.WatchDelay,
        streams.WatchMissed,
        streams.WatchDoubled,
        streams.WatchOutOfOrder,
        streams.IdleCut,
    )
}

# What must hold in every run, whatever its file says.
ALWAYS: tuple[Invariant, ...] = (
    writes.LostWrites(),
    writes.Linearizable(),
    consensus.MinorityAcks(),
    writes.HashKv(),
    leaders.OverlappingHolders(),
)
