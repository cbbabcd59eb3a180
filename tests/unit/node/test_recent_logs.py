"""The last lines of the log: found by level and text, bounded, and without secrets."""

from __future__ import annotations

from broker.node.recent_logs import RecentLogs


def told(logs: RecentLogs, **options: object) -> list[str]:
    return [row["event"] for row in logs.read(**options)]  # type: ignore[arg-type]


def test_the_newest_lines_come_first_from_a_level_on() -> None:
    logs = RecentLogs()
    for level in ("debug", "info", "error", "warning"):
        logs.add("broker.test", {"event": f"an event of {level}", "level": level, "timestamp": "2026-01-02T03:04:05Z"})
    assert told(logs) == ["an event of warning", "an event of error", "an event of info"]
    assert told(logs, level="error") == ["an event of error"]
    assert len(told(logs, level="debug")) == 4


def test_older_lines_are_before_a_number() -> None:
    logs = RecentLogs()
    for number in range(5):
        logs.add("m", {"event": str(number), "level": "info"})
    first = logs.read(limit=2)
    assert [row["event"] for row in first] == ["4", "3"]
    assert told(logs, limit=2, before=first[-1]["number"]) == ["2", "1"]


def test_lines_are_found_by_their_text_module_and_fields() -> None:
    logs = RecentLogs()
    logs.add("broker.server", {"event": "a client came", "level": "info", "peer": "10.0.0.7"})
    logs.add("broker.store", {"event": "a commit was slow", "level": "info"})
    for text in ("CLIENT", "10.0.0.7", "broker.server"):
        assert told(logs, text=text) == ["a client came"]


def test_so_many_lines_and_octets_are_kept() -> None:
    logs = RecentLogs(lines=10, octets=10_000)
    for number in range(30):
        logs.add("m", {"event": str(number), "level": "info"})
    assert told(logs) == [str(number) for number in range(29, 19, -1)]
    for _ in range(1000):
        logs.add("m", {"event": "x" * 5000, "level": "info", **{f"field{each}": "y" * 5000 for each in range(50)}})
    kept = logs.read(limit=1000)
    assert 0 < len(kept) <= 10
    assert sum(len(row["event"]) + sum(map(len, row["fields"].values())) for row in kept) <= 10_000
    assert len(kept[0]["fields"]) <= 20


def test_a_field_that_sounds_like_a_secret_is_not_shown() -> None:
    logs = RecentLogs()
    logs.add("m", {"event": "e", "level": "info", "password": "geheim", "new_token": "geheim", "user": "ann"})
    (row,) = logs.read()
    assert row["fields"] == {"password": "…", "new_token": "…", "user": "ann"}
    assert logs.read(text="geheim") == []


def test_an_error_is_told_without_its_traceback_and_nothing_steers_a_terminal() -> None:
    logs = RecentLogs()
    logs.add("m", {"event": "\x1b[2Jgone", "level": "error", "exc_info": ValueError("no\r\n"), "peer": "a\nb"})
    (row,) = logs.read()
    assert row["event"] == "\\x1b[2Jgone"
    assert row["fields"] == {"peer": "a\\nb", "error": "ValueError: no\\r\\n"}


def test_what_cannot_be_shown_does_no_harm() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    logs = RecentLogs()
    logs.add("m", {"event": "e", "level": "info", "what": Broken()})
    assert logs.read()[0]["fields"] == {"what": "(Broken)"}
