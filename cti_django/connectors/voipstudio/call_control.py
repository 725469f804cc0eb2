"""What an agent asks for a call, as a REST request; and what the service's "no" to it means."""

from collections.abc import Collection

from ...calls.commands import Answer, Command, HangUp, Hold, Link, Resume, Transfer
from ...calls.events import Call
from ...calls.numbers import NumberPlan, Party, dialable, digits_to_dial
from ...exceptions import CommandRefused, InvalidNumber, NotCapable, RESTError
from ...wire import voipstudio_rest as rest

__all__ = ["callee", "refused", "request_for"]


def callee(number: str, plan: NumberPlan, own_numbers: Collection[str]) -> Party:
    """Whom to call for `number`, which is not the agent herself.

    Raises:
        CommandRefused: nobody can be called with that, or it is her own extension.
    """
    digits = "".join(char for char in number if char.isdecimal())
    try:
        if digits in own_numbers:
            raise CommandRefused("You cannot call yourself.", code="own_number")
        return dialable(number, plan)
    except InvalidNumber as error:
        raise CommandRefused(str(error), code=error.code) from None


def request_for(
    command: Command, call: Call, token: str, plan: NumberPlan, own_numbers: Collection[str]
) -> rest.Request:
    """The request that carries out `command` for `call`.

    Raises:
        CommandRefused: the command cannot be put to this service.
    """
    call_id = call.provider_call_id
    try:
        match command:
            case Answer():
                return rest.answer_call_request(token, call_id)
            case HangUp():
                return rest.hang_up_request(token, call_id)
            case Hold():
                return rest.hold_request(token, call_id, on=True)
            case Resume():
                return rest.hold_request(token, call_id, on=False)
            case Transfer():
                digits = digits_to_dial(callee(command.number, plan, own_numbers))
                return rest.transfer_request(token, call_id, digits)
            case Link():
                return rest.link_request(token, call_id, command.url, command.text)
    except RESTError as error:
        raise CommandRefused(str(error), code="not_possible") from None
    raise NotCapable("Your telephone system cannot do that.")


def refused(refusal: rest.Refusal) -> CommandRefused:
    """The service's "no", for the agent."""
    if refusal.status == 404:
        return CommandRefused(refusal.sentence or "That call is over.", code="no_such_call", event_name="INFO")
    if refusal.status == 409:
        return CommandRefused(refusal.sentence or "That makes no sense now.", code="not_now", event_name="INFO")
    sentence = refusal.sentence or f"The telephone service refused that (status {refusal.status:d})."
    return CommandRefused(sentence, code="refused_by_service")
