"""Which versions of a policy have a say: the one in force, and the one of the day the footage was made (E-18).

A stricter version counts at once, also for footage that is already there; a wider one never opens that footage wider.
So each must allow it.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from broker.wire.policy import Policy
from cloud.rules.verdicts import Verdict, deny


def version_at(adopted: Sequence[tuple[datetime, int]], moment: datetime) -> int:
    """Return the version in force at this moment, the first one for anything older. `adopted`: oldest first, not empty.

    A version counts from the moment at which it was adopted.
    """
    return next((version for since, version in reversed(adopted) if since <= moment), adopted[0][1])


def judge_by_all(policies: Sequence[Policy], judge: Callable[[Policy], Verdict]) -> Verdict:
    """Return the first refusal, which says whose it is where there is more than one version; else what the first says.

    `policies`: at least one, the version in force first.
    """
    verdicts = [judge(policy) for policy in policies]
    for policy, verdict in zip(policies, verdicts, strict=True):
        if not verdict and len(policies) > 1:
            return deny(
                f"version {policy.version} of the policy: {verdict.because}",
                f"versie {policy.version} van het beleid: {verdict.waarom}",
            )
        if not verdict:
            return verdict
    return verdicts[0]
