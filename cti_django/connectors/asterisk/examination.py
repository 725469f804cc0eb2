"""What ``cti_doctor`` tries on the way to an Asterisk, step by step, and what helps where a step fails."""

import time
from collections.abc import AsyncIterator

from ...exceptions import ConnectionLost, ConnectorError
from ..base import Connector, Finding
from ..examination import TEST_CALL, look_up, place_test_call
from .line import AMILine, Message
from .login import allowed_commands, log_in, open_line
from .options import Options
from .rights import needs

__all__ = ["examine"]

CLOCK_SECONDS = 5.0  # so far apart, times in the call log look wrong
LOG_IN = "Log in to the manager interface"
LOOK = "Look at manager.conf: [general] enabled, bindaddr, port and tlsenable; at permit and deny; and at the firewall."
EVENTS_MISSING = "Add call,agent,reporting to `read` in manager.conf: without them no events come."
NO_PHONE = frozenset({"4", "-1"})  # ExtensionState: unavailable, no such hint


async def examine(connector: Connector, options: Options, extension: str, number: str) -> AsyncIterator[Finding]:
    """Try everything that the Asterisk connector needs. Never raises, and closes what it opens.

    Args:
        connector: the agent's, not open: for the test call.
        options: its settings.
        extension: the agent's.
        number: to be called at the end, "" for no call.
    """
    host, port = options.address
    found = await look_up(host, port, "Check the option host, and that this machine can resolve it.")
    yield found
    if not found.ok:
        return
    try:
        line = await open_line(options, on_event=_ignore, on_lost=_ignore, room=_no_wait)
    except ConnectionLost as lost:
        yield _not_reached(lost, options)
        return
    try:
        yield _reached(options)
        async for finding in _inside(line, options, extension):
            yield finding
            if finding.step == LOG_IN and not finding.ok:
                return
    except ConnectorError as error:
        yield Finding(step="Ask the telephone system", ok=False, message=str(error))
    finally:
        await line.close()
    if number:
        yield await _call(connector, number)


def _reached(options: Options) -> Finding:
    how = "with a certificate that is trusted" if options.tls else "without encryption"
    return Finding(step="Reach the manager interface", ok=True, message=f"It answers, {how}.")


def _not_reached(lost: ConnectionLost, options: Options) -> Finding:
    advice = LOOK
    if lost.code == "certificate":
        advice = "Name the authority's certificate in the option ca_file, and the host as the certificate does."
    elif lost.code == "not_ami":
        advice = f"Port {options.address[1]} may be TLS, HTTP or SIP: see the options port and tls."
    return Finding(step="Reach the manager interface", ok=False, message=str(lost), advice=advice)


async def _inside(line: AMILine, options: Options, extension: str) -> AsyncIterator[Finding]:
    try:
        await log_in(line, options)
    except ConnectorError as error:
        advice = f"Compare the options username and secret with [{options.username}] in manager.conf, and its permit."
        yield Finding(step=LOG_IN, ok=False, message=str(error), advice=advice)
        return
    yield Finding(step=LOG_IN, ok=True, message=f"Asterisk accepts the manager {options.username}.")
    commands = await allowed_commands(line)
    for finding in _rights(options, commands):
        yield finding
    yield await _clock(line)
    if "ExtensionState" in commands or "ExtensionStateList" in commands:
        yield await _phone(line, options, extension)
    async for finding in _contexts(line, options, commands):
        yield finding
    if options.queues and "QueueStatus" in commands:
        yield await _queues(line, options)


def _rights(options: Options, commands: frozenset[str]) -> list[Finding]:
    step = "What the manager may do"
    findings = []
    if not {"CoreShowChannels", "ExtensionStateList"} <= commands:
        advice = "Add reporting to `write` (and call,agent,reporting to `read`) in manager.conf."
        findings.append(Finding(step=step, ok=False, message="It may not list calls and extensions.", advice=advice))
    for need in needs(options):
        name = need.capability.value
        if not need.is_chosen:
            message = f"“{name}” is off: the option {need.option} is not set."
            findings.append(Finding(step=step, ok=None, message=message))
        elif missing := sorted(need.commands - commands):
            advice = f"Add {need.right} to `write` in manager.conf, and have Asterisk load the module of that action."
            message = f"“{name}” is not possible: {', '.join(missing)} is not allowed."
            findings.append(Finding(step=step, ok=False if need.is_missed else None, message=message, advice=advice))
    if all(finding.ok is None for finding in findings):
        findings.insert(0, Finding(step=step, ok=True, message="Everything that the settings ask for."))
    return findings


async def _clock(line: AMILine) -> Finding:
    step = "Compare the clocks"
    answer = await line.ask("Ping")
    try:
        apart = abs(float(answer.get("Timestamp", "")) - time.time())
    except ValueError:
        return Finding(step=step, ok=None, message="Asterisk does not tell its time.")
    if not apart <= CLOCK_SECONDS:
        advice = "Set both clocks by NTP."
        return Finding(step=step, ok=False, message=f"They are {apart:.0f} seconds apart.", advice=advice)
    return Finding(step=step, ok=True, message="They agree.")


async def _phone(line: AMILine, options: Options, extension: str) -> Finding:
    step = "Find the agent's phone"
    known: list[Message] = []
    await line.ask_list("ExtensionStateList", on_item=known.append)
    context = options.hint_context
    known = [item for item in known if context in ("", item.get("Context"))]
    hint = next((item for item in known if item.get("Exten") == extension), None)
    device = options.device_of(extension)
    if hint is None:
        advice = f"Add `exten => {extension},hint,{device}` to the context {context or 'of the hints'}."
        return Finding(step=step, ok=False, message=f"There is no hint for extension {extension}.", advice=advice)
    if device not in hint.get("Hint", "").split("&"):
        advice = "Compare the option channel with the hint, and the account's extension with the phone."
        message = f"The hint of extension {extension} does not name {device}."
        return Finding(step=step, ok=False, message=message, advice=advice)
    if hint.get("Status") in NO_PHONE:
        advice = "Register the phone, and see `pjsip show contacts`."
        return Finding(step=step, ok=False, message=f"No phone of extension {extension} is registered.", advice=advice)
    return Finding(step=step, ok=True, message=f"Extension {extension} is {hint.get('StatusText', 'known')}.")


async def _contexts(line: AMILine, options: Options, commands: frozenset[str]) -> AsyncIterator[Finding]:
    step = "Find the contexts"
    wanted = [(options.dial_context, "")]
    if options.transfer_context:
        wanted.append((options.transfer_context, ""))
    if options.hold_context:
        wanted += [(options.hold_context, exten) for exten in options.hold_extens]
    if options.answer == "redirect":
        wanted.append((options.answer_context, ""))
    if "ShowDialPlan" not in commands:
        yield Finding(step=step, ok=None, message="The manager may not look at the dialplan.")
        return
    missing = []
    for context, exten in wanted:
        headers = [("Context", context), *([("Extension", exten)] if exten else [])]
        answer = await line.ask_list("ShowDialPlan", headers)
        if answer.get("Response") != "Success":
            missing.append(f"{exten}@{context}" if exten else context)
    if missing:
        advice = "Add them to extensions.conf (docs/connectors/asterisk.md has them), or change the options."
        yield Finding(step=step, ok=False, message=f"The dialplan lacks {', '.join(missing)}.", advice=advice)
    else:
        yield Finding(step=step, ok=True, message="The dialplan has all that the settings name.")


async def _queues(line: AMILine, options: Options) -> Finding:
    step = "Find the queues"
    known: set[str] = set()
    await line.ask_list("QueueStatus", on_item=lambda item: known.add(item.get("Queue", "")))
    if missing := [queue for queue in options.queues if queue not in known]:
        advice = "Compare the option queues with queues.conf."
        return Finding(step=step, ok=False, message=f"There is no queue {', '.join(missing)}.", advice=advice)
    return Finding(step=step, ok=True, message="All queues of the settings are there.")


async def _call(connector: Connector, number: str) -> Finding:
    """Have the agent's phone rung, and whoever `number` is once she has picked up; hang up when they are connected."""
    try:
        await connector.open()
        return await place_test_call(connector, aiter(connector.notifications()), number, EVENTS_MISSING)
    except ConnectorError as error:
        return Finding(step=TEST_CALL, ok=False, message=str(error))
    finally:
        await connector.close()


def _ignore(_said: object) -> None:
    return


async def _no_wait() -> None:
    return
