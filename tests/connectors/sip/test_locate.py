"""Where a server is: SRV by priority and weight, then addresses; with a DNS that the tests write."""

import pytest

from cti_django.connectors.sip.locate import DNS, MAX_TARGETS, SRVRecord, Target, by_weight, in_order, locate
from cti_django.connectors.sip.options import Server
from cti_django.exceptions import ConnectionLost


class Zone:
    """A DNS with what a test has put into it; it notes what it was asked."""

    def __init__(self, services: dict[str, list[SRVRecord]] | None = None, **addresses: list[str]) -> None:
        self._services = services or {}
        self._addresses = {name.replace("_", "."): found for name, found in addresses.items()}
        self.asked: list[str] = []

    async def services(self, name: str) -> list[SRVRecord]:
        self.asked.append(name)
        return self._services.get(name, [])

    async def addresses(self, host: str) -> list[str]:
        self.asked.append(host)
        return self._addresses.get(host, [])


def heaviest(records: list[SRVRecord]) -> SRVRecord:
    return max(records, key=lambda record: record.weight)


@pytest.mark.parametrize(
    ("server", "target"),
    [
        (Server("UDP", "192.0.2.1"), Target("UDP", "192.0.2.1", 5060)),
        (Server("TLS", "192.0.2.1"), Target("TLS", "192.0.2.1", 5061)),
        (Server("TCP", "[2001:db8::1]", 5070), Target("TCP", "2001:db8::1", 5070)),
    ],
)
async def test_an_address_needs_no_dns(server, target):
    zone = Zone()
    assert await locate(server, zone) == [target]
    assert zone.asked == []


async def test_a_port_needs_no_srv():
    zone = Zone(pbx_example=["192.0.2.1"])
    assert await locate(Server("TCP", "pbx.example", 5070), zone) == [Target("TCP", "192.0.2.1", 5070)]
    assert zone.asked == ["pbx.example"]


async def test_machines_are_tried_by_priority_and_weight():
    records = [
        SRVRecord(20, 0, 5060, "spare.example."),
        SRVRecord(10, 1, 5062, "small.example."),
        SRVRecord(10, 9, 5061, "big.example."),
    ]
    zone = Zone(
        {"_sip._udp.pbx.example": records},
        spare_example=["192.0.2.3"],
        small_example=["192.0.2.2"],
        big_example=["192.0.2.1"],
    )
    found = await locate(Server("UDP", "pbx.example"), zone, heaviest)
    assert [(each.address, each.port) for each in found] == [
        ("192.0.2.1", 5061),
        ("192.0.2.2", 5062),
        ("192.0.2.3", 5060),
    ]


@pytest.mark.parametrize(("transport", "asked"), [("UDP", "_sip._udp."), ("TCP", "_sip._tcp."), ("TLS", "_sips._tcp.")])
async def test_each_transport_has_its_service(transport, asked):
    zone = Zone(pbx_example=["192.0.2.1"])
    await locate(Server(transport, "pbx.example"), zone)
    assert zone.asked == [f"{asked}pbx.example", "pbx.example"]


async def test_without_srv_the_name_itself_is_tried_at_all_its_addresses():
    zone = Zone(pbx_example=["2001:db8::1", "192.0.2.1", "192.0.2.1"])
    found = await locate(Server("UDP", "pbx.example"), zone)
    assert [each.address for each in found] == ["2001:db8::1", "192.0.2.1"]


async def test_a_domain_that_offers_no_such_service_says_so():
    zone = Zone({"_sip._udp.pbx.example": [SRVRecord(0, 0, 0, ".")]}, pbx_example=["192.0.2.1"])
    with pytest.raises(ConnectionLost, match=r"offers no SIP over UDP"):
        await locate(Server("UDP", "pbx.example"), zone)


async def test_a_name_that_nobody_knows_is_said():
    with pytest.raises(ConnectionLost, match=r"pbx\.example is not known"):
        await locate(Server("UDP", "pbx.example"), Zone())


async def test_a_thousand_records_are_no_more_than_a_few_places():
    records = [SRVRecord(number % 3, 1, 5060, f"m{number}.example.") for number in range(1_000)]
    zone = Zone({"_sip._tcp.pbx.example": records})
    zone.addresses = lambda host: _many(host)  # type: ignore[method-assign]
    assert len(await locate(Server("TCP", "pbx.example"), zone)) == MAX_TARGETS


async def _many(host: str) -> list[str]:
    return [f"192.0.2.{number}" for number in range(50)]


def test_a_record_without_a_port_or_a_host_is_left_out():
    records = [
        SRVRecord(1, 1, 0, "a."),
        SRVRecord(1, 1, 70_000, "b."),
        SRVRecord(1, 1, 5060, "."),
        SRVRecord(1, 0, 5060, "c."),
    ]
    assert [record.host for record in in_order(records, by_weight)] == ["c."]


async def test_the_machines_own_resolver_knows_localhost():
    assert set(await DNS().addresses("localhost")) & {"127.0.0.1", "::1"}
    assert await DNS().addresses("a..b") == []
