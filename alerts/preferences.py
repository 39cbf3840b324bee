"""By which channels a person's own events go out. Preferences only mute."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from access import audit
from access.actors import Actor
from access.models import User
from alerts.models import NOT_RAISED, OFF_BY_DEFAULT, AlertType, ChannelKind, Preference

# A test goes where it is sent; nobody can mute it by mistake.
CHOOSABLE = tuple(kind for kind in AlertType if kind not in NOT_RAISED | {AlertType.CHANNEL_TEST})


@dataclass(frozen=True)
class Choice:
    """Whether events of a type go out by a kind of channel; `chosen` where the person said so."""

    alert_type: str
    channel: str
    enabled: bool
    chosen: bool


def choices(user_id: uuid.UUID, project_id: uuid.UUID) -> list[Choice]:
    """Return every alert type with every kind of channel, in their order."""
    said = {
        (one.alert_type, one.channel): one.enabled
        for one in Preference.objects.filter(user_id=user_id, project_id=project_id)
    }
    return [
        _choice(alert_type, channel, said.get((alert_type, channel)))
        for alert_type in CHOOSABLE
        for channel in ChannelKind
    ]


def put(
    actor: Actor, *, alert_type: str, channel: str, enabled: bool, person: User | None = None
) -> Preference:
    """Say whether the person's events of the type go out by that kind of channel.

    It is the actor's own preference, or `person`'s where an operator acts for them.
    """
    preference, _ = Preference.objects.update_or_create(
        project=actor.project,
        user=person or actor.user,
        alert_type=alert_type,
        channel=channel,
        defaults={"enabled": enabled},
    )
    audit.record(actor, "preference.changed", preference, {"enabled": enabled})
    return preference


def forget(actor: Actor, preference: Preference) -> None:
    """Go back to the default."""
    audit.record(actor, "preference.removed", preference)
    preference.delete()


def wanted(
    person: User | None,
    project_id: uuid.UUID,
    alert_type: AlertType,
    among: Iterable[ChannelKind],
) -> frozenset[ChannelKind]:
    """Return the kinds of channels by which an event of the person's may go out.

    None is nobody who could prefer anything: the defaults.
    """
    said = dict(
        Preference.objects.filter(
            user=person, project_id=project_id, alert_type=alert_type
        ).values_list("channel", "enabled")
    )
    return frozenset(kind for kind in among if said.get(kind, alert_type not in OFF_BY_DEFAULT))


def _choice(alert_type: AlertType, channel: ChannelKind, said: bool | None) -> Choice:
    default = alert_type not in OFF_BY_DEFAULT
    return Choice(alert_type, channel, default if said is None else said, said is not None)
